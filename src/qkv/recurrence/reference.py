"""A linear recurrence by its definition, one step at a time, and by its closed form."""

from __future__ import annotations

import torch
from jaxtyping import Num
from torch import Tensor

from qkv.recurrence.arguments import prepare


def recurrence_loop(
    inputs: Num[Tensor, "*#shape"],
    decay: Num[Tensor, "*#shape"] | float | int,
    gain: Num[Tensor, "*#shape"] | float | int | None = None,
    *,
    initial: Num[Tensor, "*state"] | None = None,
    dim: int = -1,
) -> Num[Tensor, "*#shape"]:
    """All states h_1 … h_T of h_t = a_t·h_{t−1} + b_t·x_t, by T steps in a row.

    The plain twin of `recurrence_scan`, which says what the arguments and the errors are.

    Returns:
        The states, in the shape to which inputs, decay and gain broadcast.
    """
    given = prepare(inputs, decay, gain, initial, dim)
    drives = given.drive.unbind(given.dim)
    decays = given.decay.expand(given.drive.shape).unbind(given.dim)
    state = torch.zeros_like(drives[0]) if given.initial is None else given.initial
    states = []
    for a, u in zip(decays, drives, strict=True):
        state = a * state + u
        states.append(state)
    return torch.stack(states, given.dim).to(given.dtype)


def recurrence_closed_form(
    inputs: Num[Tensor, "*#shape"],
    decay: Num[Tensor, "*#shape"] | float | int,
    gain: Num[Tensor, "*#shape"] | float | int | None = None,
    *,
    initial: Num[Tensor, "*state"] | None = None,
    dim: int = -1,
) -> Num[Tensor, "*#shape"]:
    """All states h_1 … h_T of h_t = a_t·h_{t−1} + b_t·x_t, by their explicit sum.

    h_t = Σ_{k=1..t} (Π_{j=k+1..t} a_j) · b_k·x_k + (Π_{j=1..t} a_j) · h_0.

    The products are formed as they stand. Quotients of one running product would be cheaper, and
    wrong as soon as a decay is zero. Work and memory are O(T²): a form to read and to test against.
    `recurrence_scan` says what the arguments and the errors are.

    Returns:
        The states, in the shape to which inputs, decay and gain broadcast.
    """
    given = prepare(inputs, decay, gain, initial, dim)
    drive = given.drive.movedim(given.dim, -1)
    decays = given.decay.expand(given.drive.shape).movedim(given.dim, -1)
    if given.initial is not None:
        # h_0 is one more input, at time 0, where nothing came before.
        drive = torch.cat([given.initial.unsqueeze(-1), drive], -1)
        decays = torch.cat([torch.zeros_like(decays[..., :1]), decays], -1)
    states = (_products(decays) * drive.unsqueeze(-2)).sum(-1)
    if given.initial is not None:
        states = states[..., 1:]
    return states.movedim(-1, given.dim).to(given.dtype)


def _products(decays: Tensor) -> Tensor:
    """Π_{j=k+1..t} a_j at [t, k] for k ≤ t, and 0 above the diagonal: (*batch, T, T)."""
    length = decays.shape[-1]
    later = torch.ones(length, length, dtype=torch.bool, device=decays.device).tril(-1)
    factors = torch.where(later, decays.unsqueeze(-1), 1)
    return factors.cumprod(-2, dtype=decays.dtype).tril()
