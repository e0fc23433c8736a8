"""Splits carved from one pool of texts, so that the same text never stands on two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from qkv.errors import DataError
from qkv.labelled import IntArray
from qkv.text.table.labels import quoted

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


def carve_splits(
    labels: IntArray,
    keys: Sequence[bytes],
    names: Sequence[str],
    fractions: Mapping[SplitName, float],
    *,
    class_names: Sequence[str],
    seed: int,
) -> dict[SplitName, IntArray]:
    """Divide a pool into train and the asked splits, the same share of every class.

    Texts of equal key are one unit and go to one side together; a unit counts for the class of its
    first text. Each split takes its fraction of every class's units (rounded, at least one, and
    never the last that another split needs), in the order of `fractions`.

    Args:
        labels: int64 (examples,).
        keys: equal for texts that must stay together.
        names: where each text is, for messages.
        fractions: of the whole pool, by split; the rest is `"train"`.
        class_names: for messages.
        seed: rules the draw.

    Returns:
        Sorted indices into the pool, for `"train"` and each key of `fractions`; together they are
        every index once.

    Raises:
        DataError: a class has too few distinct texts to give each split one, and train two if it
            is alone.
    """
    # Units are numbered by their first text, so that the draw does not depend on the keys.
    numbers: dict[bytes, int] = {}
    unit_of = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    _, first = np.unique(unit_of, return_index=True)
    unit_labels = labels[first]
    sides: tuple[SplitName, ...] = ("train", *fractions)
    _require_enough(unit_labels, [names[i] for i in first], class_names, sides)
    side_of_unit = np.zeros(len(first), dtype=np.int64)
    generator = np.random.default_rng(seed)
    for label in range(len(class_names)):
        members = generator.permutation(np.flatnonzero(unit_labels == label))
        start = 0
        for side, fraction in enumerate(fractions.values(), start=1):
            # Leave one unit for train and for each split still to come.
            most = len(members) - start - 1 - (len(fractions) - side)
            count = min(max(1, round(fraction * len(members))), most)
            side_of_unit[members[start : start + count]] = side
            start += count
    side_of = side_of_unit[unit_of]
    return {
        split: np.flatnonzero(side_of == side).astype(np.int64) for side, split in enumerate(sides)
    }


def _require_enough(
    labels: IntArray, names: Sequence[str], class_names: Sequence[str], splits: Sequence[SplitName]
) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    needed = max(2, len(splits))
    small = [index for index, count in enumerate(counts) if count < needed]
    if not small:
        return
    count = int(counts[small[0]])
    texts = "1 distinct text" if count == 1 else f"{count} distinct texts"
    place = next(
        (f" ({n})" for n, label in zip(names, labels, strict=True) if label == small[0]), ""
    )
    why = f" (one each for {', '.join(splits)})" if len(splits) > 1 else " to train on"
    more = f", and {len(small) - 1} more classes alike" if len(small) > 1 else ""
    raise DataError(
        f"class {quoted(class_names[small[0]])} has {texts}"
        f"{place if count == 1 else ''}, needs at least {needed}{why}{more}",
        remedy="add texts to it or remove it",
    )
