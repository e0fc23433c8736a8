"""Splits carved from one pool of texts, so that the same text never stands on two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qkv.errors import DataError
from qkv.labelled import IntArray, SplitName, carve_splits, equal_units
from qkv.text.table.labels import quoted


def carve_texts(
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
    first text.

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
    unit_of, first = equal_units(keys)
    unit_labels = labels[first]
    sides: tuple[SplitName, ...] = ("train", *fractions)
    _require_enough(unit_labels, [names[i] for i in first], class_names, sides)
    return carve_splits(unit_labels, unit_of, fractions, seed=seed)


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
