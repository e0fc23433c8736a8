"""A linear recurrence in logarithmic depth, with its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Num
from torch import Tensor

from qkv.autograd import without_second_derivative
from qkv.recurrence.arguments import prepare

# The pairwise solution of a linear recurrence, forwards or backwards in time.
#
# States are numbered in the order in which they are solved; `links[k]` joins state k to state k +
# 1, so the same links serve both directions. A single link stands for all of them.


# Below this many numbers a call costs more than its arithmetic, so fewer calls win over less work.
DIRECT_NUMBERS = 4096


@dataclass(frozen=True)
class Order:
    """Which end of the time axis, the first one of a tensor, is solved first. Gives views."""

    reverse: bool

    def alternate(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The even and the odd rows, numbered from the end that is first."""
        even = (len(rows) - 1) % 2 if self.reverse else 0
        odd = len(rows) % 2 if self.reverse else 1
        return rows[even::2], rows[odd::2]

    def head(self, rows: Tensor, count: int) -> Tensor:
        """The first `count` rows."""
        return rows[len(rows) - count :] if self.reverse else rows[:count]

    def tail(self, rows: Tensor, count: int) -> Tensor:
        """The last `count` rows."""
        return rows[:count] if self.reverse else rows[len(rows) - count :]


FORWARD, BACKWARD = Order(reverse=False), Order(reverse=True)


def solve(drive: Tensor, links: Tensor, states: Tensor, order: Order) -> None:
    """Write state_{k+1} = links_k · state_k + drive_{k+1} into `states`, with state_0 = drive_0.

    Args:
        drive: (tokens, *rest).
        links: (tokens − 1, *rest) or (1, *rest), where every size of rest may be 1.
        states: where to write, shaped like `drive`; may be `drive` itself.
        order: the direction of time.
    """
    length = len(drive)
    if length == 1 or drive.numel() <= DIRECT_NUMBERS:
        _solve_by_doubling(drive, links, states, order)
        return
    pairs, between = length // 2, (length - 1) // 2
    even_drive, odd_drive = order.alternate(drive)
    even_states, odd_states = order.alternate(states)
    # States not yet written are room for the halved recurrence. Further down the halves are
    # compact, because ever wider strides would miss the cache.
    untouched = states is not drive
    inner, outer, pair_links = _join_links(links, even_states if untouched else None, pairs, order)
    half = torch.addcmul(
        odd_drive,
        inner,
        order.head(even_drive, pairs),
        out=odd_states if untouched else None,
    )
    solve(half, pair_links, half, order)
    if untouched:
        order.head(even_states, 1).copy_(order.head(even_drive, 1))
    torch.addcmul(
        order.tail(even_drive, between),
        outer,
        order.head(half, between),
        out=order.tail(even_states, between),
    )
    if not untouched:
        odd_states.copy_(half)


def _join_links(
    links: Tensor, room: Tensor | None, pairs: int, order: Order
) -> tuple[Tensor, Tensor, Tensor]:
    """The links inside pairs, those between pairs, and those of the recurrence of the pairs.

    The last are written into `room` if it is given and fits.
    """
    if len(links) == 1:
        return links, links, links * links
    inner, outer = order.alternate(links)
    fits = room is not None and room.shape[1:] == links.shape[1:]
    joined = torch.mul(
        order.head(outer, pairs - 1),
        order.tail(inner, pairs - 1),
        out=order.head(room, pairs - 1) if room is not None and fits else None,
    )
    return inner, outer, joined


def _solve_by_doubling(drive: Tensor, links: Tensor, states: Tensor, order: Order) -> None:
    """Reach back 1, 2, 4, … steps: fewer calls, O(T·log T) work (Hillis and Steele 1986)."""
    if states is not drive:
        states.copy_(drive)
    length = len(states)
    reach = 1
    while reach < length:
        later, earlier = (end(states, length - reach) for end in (order.tail, order.head))
        later.copy_(torch.addcmul(later, links, earlier))
        if len(links) == 1:
            links = links * links
        elif 2 * reach < length:
            joined = length - 2 * reach
            links = order.head(links, joined) * order.tail(links, joined)
        reach *= 2


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
    @without_second_derivative("the scan")
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
