"""A linear recurrence straight from its definition, one step at a time."""

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
