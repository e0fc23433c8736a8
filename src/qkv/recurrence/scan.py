"""A linear recurrence in logarithmic depth, with its gradient."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Num
from torch import Tensor
from torch.autograd.function import once_differentiable

from qkv.recurrence.arguments import prepare
from qkv.recurrence.pairwise import BACKWARD, FORWARD, solve


def recurrence_scan(
    inputs: Num[Tensor, "*#shape"],
    decay: Num[Tensor, "*#shape"] | float | int,
    gain: Num[Tensor, "*#shape"] | float | int | None = None,
    *,
    initial: Num[Tensor, "*state"] | None = None,
    dim: int = -1,
) -> Num[Tensor, "*#shape"]:
    """All states h_1 … h_T of h_t = a_t·h_{t−1} + b_t·x_t, by a parallel scan.

    Two steps in a row are one step: (a, u) then (a′, u′) is (a′·a, a′·u + u′). So steps are joined
    in pairs, the recurrence of half the length is solved in the same way, and the states in
    between take one more step each: work O(T), depth O(log T) (Blelloch 1990; for recurrent
    networks Martin and Cundy 2018). About three multiplications and two additions a step; two when
    the decay does not vary along time. Memory beyond the states: half as much again, or as much
    with a decay that varies.

    The gradient is the same recurrence run backwards: with g_t the gradient of h_t,
    λ_t = g_t + a_{t+1}·λ_{t+1}, and then ∂/∂(b_t·x_t) = λ_t, ∂/∂a_t = λ_t·h_{t−1} and
    ∂/∂h_0 = a_1·λ_1. Differentiable once.

    Joined steps multiply decays that the loop never multiplies. Where such a product overflows
    (many decays above 1), states can become NaN that the loop would have kept at zero. Zeros and
    underflow do no harm.

    Args:
        inputs: x_t. For one number a step, time is the last axis: (*batch, tokens). For a vector a
            step, (*batch, tokens, dim), say `dim=-2`. Integers are exact modulo 2 to the power of
            their bits and have no gradient; half precisions are computed in float32.
        decay: a_t, a tensor that broadcasts with inputs, or a number.
        gain: b_t, likewise; None means 1.
        initial: h_0, shaped like the states without the time axis; None means zeros. The last
            state of one call continues the sequence in the next.
        dim: the time axis of the broadcast shape.

    Returns:
        The states, in the shape to which inputs, decay and gain broadcast, of the inputs' dtype.

    Raises:
        ShapeError: there is no step, shapes do not broadcast, dtypes are mixed or not supported,
            `dim` is not there, or `initial` has another shape than a state.
    """
    given = prepare(inputs, decay, gain, initial, dim)
    states: Tensor = _Scan.apply(  # type: ignore[no-untyped-call]
        given.drive, given.decay, given.initial, given.dim
    )
    return states.to(given.dtype)


class _Scan(torch.autograd.Function):
    # Shapes: drive is full, decay has as many dimensions and size 1 where it does not vary, and
    # initial is full without time. Inside, time is the first axis of views.

    @staticmethod
    def forward(ctx: Any, drive: Tensor, decay: Tensor, initial: Tensor | None, dim: int) -> Tensor:
        states = torch.empty(drive.shape, dtype=drive.dtype, device=drive.device)
        steps, result = drive.movedim(dim, 0), states.movedim(dim, 0)
        decays = decay.movedim(dim, 0)
        if initial is not None:
            # The step out of h_0 is taken here, in a copy: the caller's inputs are not ours.
            result.copy_(steps)
            result[0].addcmul_(decays[0], initial)
            steps = result
        solve(steps, _links(decays), result, FORWARD)
        ctx.dim = dim
        ctx.save_for_backward(decay, initial, states if ctx.needs_input_grad[1] else None)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        decay, initial, states = ctx.saved_tensors
        _, needs_decay, needs_initial, _ = ctx.needs_input_grad
        decays = decay.movedim(ctx.dim, 0)
        adjoint = torch.empty(gradient.shape, dtype=gradient.dtype, device=gradient.device)
        later = adjoint.movedim(ctx.dim, 0)
        solve(gradient.movedim(ctx.dim, 0), _links(decays), later, BACKWARD)

        to_decay = to_initial = None
        if needs_decay:
            products = torch.empty_like(states)
            rows = products.movedim(ctx.dim, 0)
            torch.mul(later[1:], states.movedim(ctx.dim, 0)[:-1], out=rows[1:])
            if initial is None:
                rows[0] = 0
            else:
                torch.mul(later[0], initial, out=rows[0])
            to_decay = products.sum_to_size(decay.shape)
        if needs_initial:
            to_initial = decays[0] * later[0]
        return adjoint, to_decay, to_initial, None


def _links(decays: Tensor) -> Tensor:
    """What joins each state to the next: a_2 … a_T, or the one decay of every step."""
    return decays if decays.shape[0] == 1 else decays[1:]
