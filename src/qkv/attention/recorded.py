"""Linear attention with its gradient: one autograd function for both forms."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from qkv.attention.blocks import Attended, Pair
from qkv.attention.feature_maps import FeatureMap
from qkv.autograd import without_second_derivative


class Form(Protocol):
    """A module that attends, off the record, and pulls gradients back: bidirectional or causal."""

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        state: Tensor | None,
        sums: Tensor | None,
        feature_map: FeatureMap,
    ) -> tuple[Attended, Pair]:
        """The result, and what the backward pass needs of state and sums."""
        ...

    def pull_back(
        self,
        feature_map: FeatureMap,
        inputs: tuple[Tensor, Tensor, Tensor, Tensor | None],
        kept: Pair,
        results: Pair,
        incoming: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Gradients of query, key, value, state and sums.

        Args:
            feature_map: φ.
            inputs: query, key, value and mask.
            kept: what `attend` kept.
            results: output and normaliser.
            incoming: the gradients of output, state and sums; it may overwrite the last two.
        """
        ...


class Recorded(torch.autograd.Function):
    """(form, query, key, value, mask, state, sums, φ) to `Attended`, differentiable once."""

    @staticmethod
    def forward(ctx: Any, form: Form, *arguments: Any) -> Attended:
        """Attend; the normaliser has no gradient."""
        attended, kept = form.attend(*arguments)
        *inputs, state, _, ctx.feature_map = arguments
        ctx.form = form
        ctx.has_start = state is not None
        ctx.shapes = attended.state.shape, attended.sums.shape
        ctx.save_for_backward(*inputs, *kept, attended.output, attended.normaliser)
        ctx.mark_non_differentiable(attended.normaliser)
        ctx.set_materialize_grads(False)
        return attended

    @staticmethod
    @without_second_derivative("linear attention")
    def backward(
        ctx: Any,
        to_output: Tensor | None,
        _normaliser: Tensor | None,
        to_state: Tensor | None,
        to_sums: Tensor | None,
        _is_safe: None,
    ) -> tuple[Tensor | None, ...]:
        """Gradients of everything but form, mask and φ."""
        query, key, value, mask, *kept, output, normaliser = ctx.saved_tensors
        state_shape, sums_shape = ctx.shapes
        # Copies, for the sums are gathered in them.
        incoming = (
            torch.zeros_like(output) if to_output is None else to_output,
            output.new_zeros(state_shape) if to_state is None else to_state.clone(),
            output.new_zeros(sums_shape) if to_sums is None else to_sums.clone(),
        )
        with torch.autocast(output.device.type, enabled=False):
            *to_inputs, to_state, to_sums = ctx.form.pull_back(
                ctx.feature_map,
                (query, key, value, mask),
                tuple(kept),
                (output, normaliser),
                incoming,
            )
        to_start = (to_state, to_sums) if ctx.has_start else (None, None)
        return None, *to_inputs, None, *to_start, None
