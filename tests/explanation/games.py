"""Inputs in parts whose answers are known by a formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qkv.explanation.faithfulness import BoolArray, FloatArray

LABEL = 1


class Game:
    """Class 1 has the value of the kept parts, class 0 what is left to one.

    Args:
        parts: how many.
        value: from (subsets, parts) of bools to (subsets,) of probabilities.

    Attributes:
        asked: how many answers were asked for.
    """

    def __init__(self, parts: int, value: Callable[[BoolArray], FloatArray]) -> None:
        self._parts = parts
        self._value = value
        self.asked = 0

    @property
    def parts(self) -> int:
        return self._parts

    def probabilities(self, keep: BoolArray) -> FloatArray:
        assert keep.dtype == np.bool_
        assert keep.shape == (len(keep), self._parts)
        self.asked += len(keep)
        value = np.asarray(self._value(keep), dtype=np.float64)
        return np.stack([1.0 - value, value], axis=1)


def additive(weights: Sequence[float], none: float = 0.0) -> Game:
    """Every part adds its weight, whatever else is there."""
    return Game(len(weights), lambda keep: none + keep @ np.asarray(weights, dtype=np.float64))


def pairwise(weights: Sequence[float], together: FloatArray) -> Game:
    """Every part adds its weight, and every pair i < j adds `together[i, j]`."""
    upper = np.triu(together, 1)

    def value(keep: BoolArray) -> FloatArray:
        there = keep.astype(np.float64)
        pairs: FloatArray = there @ np.asarray(weights) + np.einsum(
            "si,ij,sj->s", there, upper, there
        )
        return pairs

    return Game(len(weights), value)


def table(values: Sequence[float]) -> Game:
    """Any game: `values[i]` for the subset whose bits make the number i."""
    parts = len(values).bit_length() - 1
    bits = 2 ** np.arange(parts)
    return Game(parts, lambda keep: np.asarray(values, dtype=np.float64)[keep @ bits])
