"""What every set of labelled examples shares: index arrays, seeded splits, what was left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qkv.errors import DataError

IntArray = npt.NDArray[np.int64]


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
