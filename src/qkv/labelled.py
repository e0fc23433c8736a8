"""What every set of labelled examples shares: index arrays, seeded splits, what was left out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from qkv.errors import DataError

IntArray = npt.NDArray[np.int64]
SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
SPLIT_OF_NAME: dict[str, SplitName] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""What files and folders of a split are called, in lower case."""


@dataclass(frozen=True)
class Skipped:
    """A file, or a row of one (`FILE:LINE`), that was left out, and why."""

    path: str
    reason: str


def stratified_split(labels: IntArray, fraction: float, seed: int) -> tuple[IntArray, IntArray]:
    """Split example indices into (kept, carved), the same share of every class.

    Each class gives `round(fraction × count)` examples, at least one and never all, drawn by a
    generator seeded with `seed`. Both results are sorted, so the split is a function of labels,
    fraction and seed alone.

    Raises:
        DataError: a class has a single example, which cannot be on both sides.
    """
    generator = np.random.default_rng(seed)
    carved: list[IntArray] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(
                f"class number {label} has one example, too few to split",
                remedy="add examples of that class or remove it",
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        carved.append(generator.permutation(members)[:count])
    taken = np.sort(np.concatenate(carved)).astype(np.int64)
    kept = np.setdiff1d(np.arange(len(labels), dtype=np.int64), taken, assume_unique=True)
    return kept, taken


def equal_units(keys: Sequence[Hashable]) -> tuple[IntArray, IntArray]:
    """Number what is equal alike, in the order of first sight.

    Returns:
        int64 (examples,), the unit of each example; int64 (units,), the first example of each.
    """
    numbers: dict[Hashable, int] = {}
    unit_of = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return unit_of, np.unique(unit_of, return_index=True)[1]


def carve_splits(
    unit_labels: IntArray,
    unit_of: IntArray,
    fractions: Mapping[SplitName, float],
    *,
    seed: int,
) -> dict[SplitName, IntArray]:
    """Divide a pool into train and the asked splits, the same share of every class.

    A unit, which is whatever must stay together, goes to one side as a whole. Each split takes its
    fraction of every class's units (rounded, at least one, and never the last that another split
    needs), in the order of `fractions`.

    Args:
        unit_labels: int64 (units,), the class of each; a class has none, or as many as there are
            splits.
        unit_of: int64 (examples,), the unit of each example.
        fractions: of the whole pool, by split; the rest is `"train"`.
        seed: rules the draw.

    Returns:
        Sorted indices into the pool, for `"train"` and each key of `fractions`; together they are
        every index once.
    """
    sides: tuple[SplitName, ...] = ("train", *fractions)
    side_of_unit = np.zeros(len(unit_labels), dtype=np.int64)
    generator = np.random.default_rng(seed)
    for label in range(int(unit_labels.max(initial=-1)) + 1):
        members = generator.permutation(np.flatnonzero(unit_labels == label))
        start = 0
        for side, fraction in enumerate(fractions.values(), start=1):
            # Leave one unit for train and for each split still to come.
            most = len(members) - start - 1 - (len(fractions) - side)
            count = max(0, min(max(1, round(fraction * len(members))), most))
            side_of_unit[members[start : start + count]] = side
            start += count
    side_of = side_of_unit[unit_of]
    return {
        split: np.flatnonzero(side_of == side).astype(np.int64) for side, split in enumerate(sides)
    }
