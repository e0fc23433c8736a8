"""From the labels of all rows to classes: their order, and what cannot be classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from qkv.errors import DataError

MOST_CLASSES = 1000
FEW_CLASSES = 20
"""Up to this many, labels are classes however rare each is."""

_SHOWN_LETTERS = 60


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels in class order: by value if all are numbers, else as words."""
    distinct = sorted(set(labels))
    numbers = [_value(label) for label in distinct]
    if any(number is None for number in numbers):
        return tuple(distinct)
    return tuple(
        label
        for _, _, label in sorted(
            (number, len(label), label)
            for number, label in zip(numbers, distinct, strict=True)
            if number is not None
        )
    )


def refuse_what_are_no_classes(labels: Sequence[str], *, column: str, where: str) -> None:
    """Refuse labels that look like names, texts or measurements rather than classes.

    These are more than 1,000 different ones, or more than 20 of which half or more occur once or
    some are fractions.

    Raises:
        DataError: saying how many there are.
    """
    counts = Counter(labels)
    rare = sum(count == 1 for count in counts.values())
    fractions = any(_is_fraction(label) for label in counts)
    if len(counts) <= FEW_CLASSES:
        return
    if len(counts) > MOST_CLASSES:
        why = f"at most {MOST_CLASSES:,} classes can be told apart"
    elif fractions:
        why = "they look like measurements, not classes"
    elif 2 * rare >= len(counts):
        why = f"{rare:,} of them occur once: they look like names, not classes"
    else:
        return
    raise DataError(
        f"column {column!r} of {where} has {len(counts):,} different labels in {len(labels):,} "
        f"rows (such as {quoted(next(iter(counts)))}); {why}",
        remedy="name the column of classes with --label-column",
    )


def refuse_a_single_class(class_names: Sequence[str], *, where: str) -> None:
    """Refuse one class.

    Raises:
        DataError: naming it.
    """
    if len(class_names) < 2:
        raise DataError(
            f"{where} has a single class, {quoted(class_names[0])}",
            remedy="add texts of a second class, or name the right column with --label-column",
        )


def refuse_unknown(
    labels: Sequence[str], names: Sequence[str], known: Mapping[str, int], *, but: str, remedy: str
) -> None:
    """Refuse labels beyond the known ones.

    Args:
        labels: one for each row.
        names: where each row is.
        known: the labels that may occur.
        but: how the sentence about the label ends.
        remedy: what to do.

    Raises:
        DataError: naming the first such label with its first row, and how many others there are.
    """
    first: dict[str, str] = {}
    for label, name in zip(labels, names, strict=True):
        if label not in known:
            first.setdefault(label, name)
    if first:
        label, name = next(iter(first.items()))
        more = f" (and {len(first) - 1} more labels alike)" if len(first) > 1 else ""
        raise DataError(f"{name} has the label {quoted(label)}, {but}{more}", remedy=remedy)


def quoted(label: str) -> str:
    """A label in a message, cut short if it is a text."""
    return repr(label if len(label) <= _SHOWN_LETTERS else label[:_SHOWN_LETTERS] + "…")


def _value(label: str) -> float | None:
    # `float` alone would take "nan", "infinity" and "1_000" for numbers.
    if not label.isascii() or label.strip("+-.0123456789e"):
        return None
    try:
        return float(label)
    except ValueError:
        return None


def _is_fraction(label: str) -> bool:
    value = _value(label)
    return value is not None and not value.is_integer()
