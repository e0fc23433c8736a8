"""Splits carved from one pool of images, so that equal files never face each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qkv.errors import DataError
from qkv.labelled import IntArray, SplitName, carve_splits, equal_units


def carve_images(
    labels: IntArray,
    contents: Sequence[str],
    fractions: Mapping[SplitName, float],
    *,
    class_names: Sequence[str],
    seed: int,
) -> dict[SplitName, IntArray]:
    """Divide a pool into train and the asked splits, the same share of every class.

    Files of equal content are one unit and go to one side together; a unit counts for the class of
    its first file.

    Args:
        labels: int64 (examples,).
        contents: a hash of each example's file.
        fractions: of the whole pool, by split; the rest is `"train"`.
        class_names: for messages.
        seed: rules the draw.

    Returns:
        Sorted indices into the pool, for `"train"` and each key of `fractions`; together they are
        every index once.

    Raises:
        DataError: a class has too few distinct images to give each split one.
    """
    unit_of, first = equal_units(contents)
    unit_labels = labels[first]
    sides: tuple[SplitName, ...] = ("train", *fractions)
    require_enough(unit_labels, class_names, sides, what="distinct image")
    return carve_splits(unit_labels, unit_of, fractions, seed=seed)


def require_enough(
    labels: IntArray, class_names: Sequence[str], splits: Sequence[SplitName], *, what: str
) -> None:
    """Refuse a class that cannot give each of `splits` an image, and train two.

    Args:
        labels: of the images to divide.
        class_names: the name of each label.
        splits: what they are divided into.
        what: what is counted, for the message: "image" or "distinct image".

    Raises:
        DataError: naming the first such class.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    needed = max(2, len(splits))
    small = [name for name, count in zip(class_names, counts, strict=True) if count < needed]
    if small:
        count = counts[class_names.index(small[0])]
        why = f" (one each for {', '.join(splits)})" if len(splits) > 1 else " to train on"
        more = f", and {len(small) - 1} more classes alike" if len(small) > 1 else ""
        raise DataError(
            f"class {small[0]!r} has {count} {what}{'' if count == 1 else 's'}, "
            f"needs at least {needed}{why}{more}",
            remedy="add images to it or remove its folder",
        )
