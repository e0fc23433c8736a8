"""`nn.GRU` on packed texts, fast on a CPU.

torch's `nn.GRU` has no fused kernel there: it makes a dozen small calls a step and direction,
records each for its gradient, and adds to the gradient of the weights at every step. Here a step is
one batched product and a few elementwise calls for both directions, into memory that is there
already, and everything that needs no order is one large product over many steps.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qkv.dropout import Dropout
from qkv.errors import QKVError
from qkv.text.heads.gru_backward import BackwardVisit
from qkv.text.heads.gru_cell import Gates, Weights
from qkv.text.heads.gru_forward import visit
from qkv.text.heads.packed import Packing

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
DIRECTIONS = ("", "_reverse")


def last_gru_states(
    gru: nn.GRU, rows: Float[Tensor, "rows dim"], packing: Packing
) -> Float[Tensor, "texts features"]:
    """The top layer's last state of each direction, side by side.

    Under autocast the products, those with the state too, run in its dtype; states and gates stay
    in float32. Gates are kept for the gradient only where computing them anew costs more: where
    products run in the dtype of states. Differentiable once, in the rows and the GRU's weights.

    Args:
        gru: bidirectional, with biases, on the CPU; its dropout applies between layers.
        rows: packed tokens.
        packing: of the rows.

    Returns:
        Last forward and last backward state of each text, in the order of the padded batch.

    Raises:
        QKVError: while differentiating, if the gradient is to be differentiated again.
    """
    dtype = next(gru.parameters()).dtype
    state_dtype = torch.promote_types(dtype, torch.float32)
    product_dtype = _product_dtype(dtype)
    dropout = Dropout(gru.dropout).train(gru.training)
    for layer in range(gru.num_layers):
        if layer > 0:
            rows = dropout(rows)
        parameters = [
            torch.stack([getattr(gru, f"{name}_l{layer}{end}") for end in DIRECTIONS])
            for name in PARAMETERS
        ]
        rows = _Layer.apply(  # type: ignore[no-untyped-call]
            rows.to(product_dtype),
            *(parameter.to(state_dtype) for parameter in parameters),
            packing,
            layer + 1 == gru.num_layers,
            torch.is_grad_enabled() and product_dtype == state_dtype,
        )
    return rows.index_select(0, packing.ranks)


def _product_dtype(dtype: torch.dtype) -> torch.dtype:
    """What autocast makes of factors of that dtype; it leaves float64 alone."""
    if torch.is_autocast_enabled("cpu") and dtype != torch.float64:
        return torch.get_autocast_dtype("cpu")
    return dtype


class _Layer(torch.autograd.Function):
    """A layer: all states (rows, 2H) as the next one reads them, or the last (texts, 2H)."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        input_weight: Tensor,
        state_weight: Tensor,
        input_bias: Tensor,
        state_bias: Tensor,
        packing: Packing,
        last_only: bool,
        keep_gates: bool,
    ) -> Tensor:
        parameters = input_weight, state_weight, input_bias, state_bias
        weights = Weights.of(*parameters, product_dtype=rows.dtype)
        states, gates = visit(rows, weights, packing, input_weight.dtype, keep_gates=keep_gates)
        kept = () if gates is None else (gates.reset_update, gates.recalled, gates.candidate)
        ctx.save_for_backward(rows, *parameters, states, *kept)
        ctx.packing, ctx.last_only = packing, last_only
        if last_only:
            return torch.cat(states.index_select(1, packing.last_rows).unbind(), dim=1)
        backwards = states[1].index_select(0, packing.reverse)
        return torch.cat([states[0], backwards], dim=1).to(rows.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # torch's `once_differentiable` would let a penalty on this gradient count for nothing.
        if torch.is_grad_enabled():
            raise QKVError(
                "the packed GRU has no second derivative",
                remedy="differentiate it without create_graph, or use torch's nn.GRU",
            )
        rows, *parameters = ctx.saved_tensors[:5]
        states, *kept = ctx.saved_tensors[5:]
        packing = ctx.packing
        weights = Weights.of(*parameters, product_dtype=rows.dtype)
        # The gradient of each direction, in the order in which it visits.
        forwards, backwards = gradient.to(states.dtype).chunk(2, dim=1)
        if ctx.last_only:
            of_last, of_states = torch.stack([forwards, backwards]), None
        else:
            of_last = states.new_zeros(2, packing.active[0], states.shape[2])
            of_states = torch.stack([forwards, backwards.index_select(0, packing.reverse)])
        back = BackwardVisit(
            rows,
            weights,
            packing,
            states,
            Gates(*kept) if kept else None,
            to_rows=ctx.needs_input_grad[0],
        )
        with torch.autocast("cpu", enabled=False):
            back.run(of_last, of_states)
        hidden = states.shape[2]
        of_rows = None
        if back.of_rows is not None:
            of_rows = back.of_rows[0] + back.of_rows[1].index_select(0, packing.reverse)
        return (
            of_rows,
            torch.roll(back.of_input_weight, -hidden, dims=1),
            back.of_state_weight,
            torch.roll(back.of_gates[:, : 3 * hidden], -hidden, dims=1),
            back.of_gates[:, hidden:],
            None,
            None,
            None,
        )
