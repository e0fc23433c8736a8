"""The recurrence h_t = x_t − h_{t−1} on integers, exactly, and what its sign decides.

Its last state is h_T = Σ_{k=1..T} (−1)^{T−k} x_k. With an even T = 2n that is
Σ_{i=1..n} (x_{2i} − x_{2i−1}), so the output sigmoid(1000·h_T) says whether the inputs at even
positions (counted from 1) have the larger sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from numbers import Integral
from typing import overload

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from qkv.errors import IntegerOverflowError, QKVError, ShapeError

# Numbers of 64 bits are summed as high · 2³² + low, so that neither sum can overflow.
LOW_BITS = 32
LOW_MASK = 2**LOW_BITS - 1


def alternating_states(sequence: Sequence[int]) -> list[int]:
    """h_1 … h_T of h_t = x_t − h_{t−1} with h_0 = 0, in integers of any size.

    Raises:
        QKVError: the sequence is empty or holds something that is not an integer.
    """
    values = _integers(sequence)
    return list(accumulate(values, lambda state, value: value - state))


@overload
def alternating_sum(sequence: Sequence[int]) -> int: ...
@overload
def alternating_sum(sequence: Int64[Tensor, "*batch tokens"]) -> Int64[Tensor, "*batch"]: ...
def alternating_sum(
    sequence: Sequence[int] | Int64[Tensor, "*batch tokens"],
) -> int | Int64[Tensor, "*batch"]:
    """Σ_{k=1..T} (−1)^{T−k} x_k, the last state of the recurrence, exactly and at any length.

    Args:
        sequence: Python integers of any size, or an int64 tensor with time as its last axis.

    Returns:
        An integer, or an int64 tensor with one sum a row.

    Raises:
        IntegerOverflowError: a row of a tensor has a sum outside int64. Sums on the way may pass
            it: only the result counts.
        ShapeError: a tensor of another dtype, or with no time axis.
        QKVError: there is nothing to sum, or something that is not an integer.
    """
    if not isinstance(sequence, Tensor):
        values = _integers(sequence)
        return sum(values[::-2]) - sum(values[-2::-2])
    high, low = _tensor_sums(sequence)
    limit = 2 ** (63 - LOW_BITS)
    too_large = (high < -limit) | (high >= limit)
    if too_large.any():
        row = too_large.nonzero()[0].tolist()
        where = f"row {', '.join(map(str, row))}" if row else "the sequence"
        exact = (int(high[tuple(row)]) << LOW_BITS) + int(low[tuple(row)])
        raise IntegerOverflowError(
            f"the alternating sum of {where} is {exact}, which int64 does not hold",
            remedy="pass that row as a list of Python integers",
        )
    return (high << LOW_BITS) | low


@overload
def compare_even_odd(sequence: Sequence[int]) -> float: ...
@overload
def compare_even_odd(sequence: Int64[Tensor, "*batch tokens"]) -> Float64[Tensor, "*batch"]: ...
def compare_even_odd(
    sequence: Sequence[int] | Int64[Tensor, "*batch tokens"],
) -> float | Float64[Tensor, "*batch"]:
    """Whether the even positions have the larger sum: sigmoid(1000·h_T), which is 1, 0.5 or 0.

    Args:
        sequence: Python integers of any size, or an int64 tensor with time as its last axis; of
            even length. Sums of a tensor may pass int64.

    Returns:
        1.0 if the inputs at even positions (the second, the fourth, …) have the larger sum, 0.0 if
        the smaller, exactly 0.5 on a tie. For a tensor, one such number a row.

    Raises:
        ShapeError: a tensor of another dtype, or with no time axis.
        QKVError: the length is odd or zero, or something is not an integer.
    """
    # For an integer h ≠ 0, e^{−1000} is below what float64 can tell from 0: the sigmoid is a step,
    # and as a step it cannot overflow.
    if not isinstance(sequence, Tensor):
        values = _integers(sequence)
        _require_even(len(values))
        total = alternating_sum(values)
        return 0.5 if total == 0 else float(total > 0)
    high, low = _tensor_sums(sequence)
    _require_even(sequence.shape[-1])
    return torch.where((high == 0) & (low == 0), 0.5, (high >= 0).double())


def _integers(sequence: Sequence[object]) -> list[int]:
    values = []
    for position, value in enumerate(sequence, start=1):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise QKVError(
                f"input {position} is {value!r}, not an integer",
                remedy="give integers: the sums are exact, and a tie must be one",
            )
        # A NumPy integer would overflow; Python's own grows.
        values.append(int(value))
    _require_some(len(values))
    return values


def _tensor_sums(sequence: Tensor) -> tuple[Tensor, Tensor]:
    """The exact sum of each row as (high, low) with sum = high · 2³² + low and 0 ≤ low < 2³²."""
    if sequence.dtype != torch.int64:
        raise ShapeError(
            f"the sequence has dtype {sequence.dtype}", remedy="give a tensor of torch.int64"
        )
    if sequence.ndim == 0:
        raise ShapeError("the sequence has shape ()", remedy="give it a time axis, the last one")
    length = sequence.shape[-1]
    _require_some(length)
    high, low = (
        half[..., (length - 1) % 2 :: 2].sum(-1) - half[..., length % 2 :: 2].sum(-1)
        for half in (sequence >> LOW_BITS, sequence & LOW_MASK)
    )
    return high + (low >> LOW_BITS), low & LOW_MASK


def _require_some(length: int) -> None:
    if length == 0:
        raise QKVError("the sequence is empty", remedy="give at least one integer")


def _require_even(length: int) -> None:
    if length % 2:
        raise QKVError(
            f"the sequence has {length} inputs, an odd number: the last one has no partner, and "
            "the sum would count the odd positions, not the even ones, as positive",
            remedy="give an even number of inputs",
        )
