"""A gated recurrent layer over packed texts, both directions at once, with its own gradient.

torch's `nn.GRU` has no fused kernel on a CPU: it makes a dozen small calls a step and direction and
records each for its gradient. Here a step is one batched product and five elementwise calls for
both directions together, and everything that needs no order is one call over all tokens.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

# A gradient fades along a text until its floats are subnormal, and a CPU takes twenty times as long
# over those. Adding and taking away this number rounds what is 10⁷ times smaller still to zero.
NEGLIGIBLE = 1e-20


def gated_recurrence(
    inputs: Float[Tensor, "directions rows gates"],
    weight: Float[Tensor, "directions gates hidden"],
    bias: Float[Tensor, "directions gates"],
    active: tuple[int, ...],
) -> Float[Tensor, "directions rows hidden"]:
    """All states of a gated recurrent unit, from zero (Cho et al. 2014, as torch's `nn.GRU`).

    With g = W·h + b in the parts r, z, n, and the inputs likewise:
    `r = σ(i_r + g_r)`, `z = σ(i_z + g_z)`, `n = tanh(i_n + r·g_n)`, `h ← (1 − z)·n + z·h`.

    Args:
        inputs: the input's part of each gate, bias included, in packed order; gates = 3·hidden.
        weight: of the state's part.
        bias: of the state's part.
        active: rows of each step; they never grow.

    Returns:
        The state after each row's step; a second derivative is refused.
    """
    states: Tensor = _GatedRecurrence.apply(inputs, weight, bias, active)  # type: ignore[no-untyped-call]
    return states


class _GatedRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, active: tuple[int, ...]
    ) -> Tensor:
        directions, rows, _ = inputs.shape
        hidden = weight.shape[2]
        transposed = weight.transpose(1, 2).contiguous()
        bias = bias[:, None]
        gates = torch.empty_like(inputs)  # r and z, then n
        recurrent = inputs.new_empty(directions, rows, hidden)  # g_n, which r multiplies
        states = inputs.new_empty(directions, rows, hidden)
        state = inputs.new_zeros(directions, active[0], hidden)
        start = 0
        for count in active:
            stop = start + count
            state = state[:, :count]
            given = inputs[:, start:stop]
            product = torch.baddbmm(bias, state, transposed)
            both = torch.add(given[..., : 2 * hidden], product[..., : 2 * hidden]).sigmoid_()
            candidate = torch.addcmul(
                given[..., 2 * hidden :], both[..., :hidden], product[..., 2 * hidden :]
            ).tanh_()
            state = torch.lerp(candidate, state, both[..., hidden:])
            gates[:, start:stop, : 2 * hidden] = both
            gates[:, start:stop, 2 * hidden :] = candidate
            recurrent[:, start:stop] = product[..., 2 * hidden :]
            states[:, start:stop] = state
            start = stop
        ctx.save_for_backward(weight, gates, recurrent, states)
        ctx.active = active
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        weight, gates, recurrent, states = ctx.saved_tensors
        hidden = weight.shape[2]
        previous = _previous(states, ctx.active)
        reset, update, candidate = gates.split(hidden, dim=2)
        # What a gradient of the state becomes at each gate, for all tokens before the loop.
        to_candidate = (1 - update).mul_(1 - candidate.square())
        to_update = torch.sub(previous, candidate).mul_(update).mul_(1 - update)
        to_reset = recurrent.mul(reset).mul_(1 - reset)
        of_inputs = torch.empty_like(gates)
        of_product = torch.empty_like(gates)
        carried = gradient.new_zeros(gradient.shape[0], 0, hidden)
        stop = gradient.shape[1]
        for count in reversed(ctx.active):
            start = stop - count
            arriving = gradient[:, start:stop].clone()
            arriving[:, : carried.shape[1]] += carried
            arriving.add_(NEGLIGIBLE).sub_(NEGLIGIBLE)
            r = slice(start, stop)
            n = torch.mul(arriving, to_candidate[:, r])
            product = of_product[:, r]
            torch.mul(n, to_reset[:, r], out=product[..., :hidden])
            torch.mul(arriving, to_update[:, r], out=product[..., hidden : 2 * hidden])
            torch.mul(n, reset[:, r], out=product[..., 2 * hidden :])
            of_inputs[:, r, 2 * hidden :] = n
            carried = torch.baddbmm(arriving.mul_(update[:, r]), product, weight)
            stop = start
        of_inputs[..., : 2 * hidden] = of_product[..., : 2 * hidden]
        of_weight = torch.bmm(of_product.transpose(1, 2), previous)
        return of_inputs, of_weight, of_product.sum(dim=1), None


def _previous(states: Tensor, active: tuple[int, ...]) -> Tensor:
    """The state before each row's step: that of the row one step earlier, or zero."""
    previous = torch.zeros_like(states)
    start = active[0]
    before = 0
    for earlier, count in pairwise(active):
        previous[:, start : start + count] = states[:, before : before + count]
        before += earlier
        start += count
    return previous
