"""Linear attention over all keys: two products, forward and backward, and no T×T matrix.

With S = Σ_j φ(k_j) v_jᵀ and z = Σ_j φ(k_j), the output is y_i = Sᵀφ(q_i) / φ(q_i)·z. Both sums are
taken first; then every query needs only them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qkv.attention.blocks import (
    Attended,
    Blocks,
    add_outer,
    add_sum,
    dot,
    first_order,
    is_safe,
    joined,
    quotient_gradient,
)
from qkv.attention.feature_maps import FeatureMap


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    state: Tensor | None,
    sums: Tensor | None,
    feature_map: FeatureMap,
) -> Attended:
    """Attend, off the record.

    Args:
        query: (rows, queries, head_dim).
        key: (rows, keys, head_dim).
        value: (rows, keys, value_dim).
        mask: (rows, keys), False where a key is hidden.
        state: (rows, features, value_dim) to start from, zeros when None.
        sums: (rows, features) to start from, given when `state` is.
        feature_map: φ.
    """
    rows, queries, _ = query.shape
    blocks = Blocks(feature_map, query, max(queries, key.shape[1]))
    if blocks.is_one(rows) and query.dtype == blocks.dtype:
        return _attend_whole(query, key, value, mask, state, sums, feature_map)
    normaliser = torch.empty(rows, queries, dtype=blocks.dtype, device=query.device)
    output = normaliser.new_empty(rows, queries, value.shape[-1])
    states, totals = [], []
    for q, k, v, seen, first, first_sums, out, divisor in blocks.rows(
        query, key, value, mask, state, sums, output, normaliser
    ):
        s = z = None
        if first is not None:
            s, z = first.clone(), first_sums.clone()
        for k_block, v_block, seen_block in blocks.spans(k, v, seen):
            features = blocks.features(k_block, seen_block)
            s = add_outer(s, features, blocks.load(v_block))
            z = add_sum(z, features)
        assert s is not None
        assert z is not None
        for q_block, out_block, total in blocks.spans(q, out, divisor):
            features = blocks.features(q_block)
            dot(features, z, out=total)
            torch.bmm(features, s, out=out_block).mul_(total.reciprocal()[..., None])
        states.append(s)
        totals.append(z)
    safe = is_safe(normaliser, output)
    return Attended(output, normaliser, joined(states), joined(totals), safe)


def _attend_whole(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    state: Tensor | None,
    sums: Tensor | None,
    feature_map: FeatureMap,
) -> Attended:
    """`attend` as one would write it first, for what is short enough to be one block."""
    features = feature_map(key)
    if mask is not None:
        features = features.masked_fill(~mask[..., None], 0.0)
    own, own_sums = torch.bmm(features.transpose(1, 2), value), features.sum(dim=1)
    if state is not None and sums is not None:
        own, own_sums = own + state, own_sums + sums
    features = feature_map(query)
    normaliser = torch.bmm(features, own_sums.unsqueeze(-1))
    output = torch.bmm(features, own).div_(normaliser)
    normaliser = normaliser.squeeze(-1)
    return Attended(output, normaliser, own, own_sums, is_safe(normaliser, output))


class Bidirectional(torch.autograd.Function):
    """`attend` with its gradient."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Attended:
        """`attend`; the normaliser has no gradient."""
        *tensors, ctx.feature_map = arguments
        attended = attend(*arguments)
        query, key, value, mask, state, _ = tensors
        ctx.has_start = state is not None
        ctx.save_for_backward(query, key, value, mask, *attended[:4])
        ctx.mark_non_differentiable(attended.normaliser)
        ctx.set_materialize_grads(False)
        return attended

    @staticmethod
    @first_order
    def backward(
        ctx: Any,
        to_output: Tensor | None,
        _normaliser: Tensor | None,
        to_state: Tensor | None,
        to_sums: Tensor | None,
        _is_safe: None,
    ) -> tuple[Tensor | None, ...]:
        """Gradients of everything but the mask and φ."""
        query, key, value, mask, output, normaliser, state, sums = ctx.saved_tensors
        blocks = Blocks(ctx.feature_map, query, max(query.shape[1], key.shape[1]))
        to_query, to_key, to_value = map(torch.empty_like, (query, key, value))
        to_output = torch.zeros_like(output) if to_output is None else to_output
        to_states = torch.zeros_like(state) if to_state is None else to_state.clone()
        to_totals = torch.zeros_like(sums) if to_sums is None else to_sums.clone()
        for q, k, v, seen, y, n, s, z, dq, dk, dv, dy, ds, dz in blocks.rows(
            query, key, value, mask, output, normaliser, state, sums,
            to_query, to_key, to_value, to_output, to_states, to_totals,
        ):  # fmt: skip
            for x, out, upstream, value_block, total in blocks.spans(q, dq, dy, y, n):
                to_numerator, to_total = quotient_gradient(blocks, upstream, value_block, total)
                features = blocks.features(x)
                add_outer(ds, features, to_numerator)
                add_sum(dz, features, to_total)
                gradient = blocks.scratch("gradient", *features.shape)
                torch.mul(to_total[..., None], z[:, None], out=gradient)
                gradient.baddbmm_(to_numerator, s.transpose(1, 2))
                blocks.pull_back(x, features, gradient, out)
            # What the queries ask of the two sums is complete, and every key adds to both.
            for x, out, value_block, value_out, seen_block in blocks.spans(k, dk, v, dv, seen):
                features = blocks.features(x, seen_block)
                value_out.copy_(torch.bmm(features, ds))
                gradient = blocks.scratch("gradient", *features.shape)
                torch.baddbmm(
                    dz[:, None], blocks.load(value_block), ds.transpose(1, 2), out=gradient
                )
                if seen_block is not None:
                    gradient.masked_fill_(~seen_block[..., None], 0.0)
                blocks.pull_back(x, features, gradient, out)
        to_start = (to_states, to_totals) if ctx.has_start else (None, None)
        return to_query, to_key, to_value, None, *to_start, None
