"""From what a table holds to a text and a label, or to the reason why it is neither.

A label is a word. Numbers become words that stand for their value, so that `1`, `"1"`, `1.0` and
`"+1"` are one label; `01` stays as it is, since it may be a code. True and false lose their
capitals.


Which column holds the texts and which the labels: as told, or guessed where that is safe.

From the labels of all rows to classes: their order, and what cannot be classes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from qkv.errors import DataError

_WHOLE = re.compile(r"([+-]?)(0|[1-9][0-9]*)(?:\.0*)?")
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9][0-9]*)\.[0-9]{1,17}")
_PLAIN = 10**16
"""Floats from here on are written with an exponent, in files as here."""


class BadCellError(Exception):
    """A cell that is no text or no label, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def text_of(value: object) -> str:
    """The text in a cell, as it is.

    Raises:
        BadCellError: there is none, it has nothing but white space, or it has what is no character.
    """
    text = text_or_nothing(value)
    if not text:
        raise BadCellError("has no text")
    if text.isspace():
        raise BadCellError("has a text of white space only")
    return text


def text_or_nothing(value: object) -> str:
    """The text in a cell, possibly empty.

    Raises:
        BadCellError: the cell holds something else, or what is no character.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadCellError(f"has {_kind(value)} for a text")
    _check_characters(value, "text")
    return value


def label_of(value: object) -> str:
    """The label in a cell, as one word for equal values.

    Raises:
        BadCellError: there is none, or it is neither a word, a number nor true or false.
    """
    match value:
        case None:
            raise BadCellError("has no label")
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return _number(value)
        case str():
            word = value.strip()
            if not word:
                raise BadCellError("has no label")
            _check_characters(word, "label")
            return _word(word)
    raise BadCellError(f"has {_kind(value)} for a label")


def _number(value: float) -> str:
    if math.isnan(value):  # how tables of numbers write that nothing is there
        raise BadCellError("has no label")
    if math.isinf(value):
        raise BadCellError("has an infinite label")
    return str(int(value)) if value.is_integer() and abs(value) < _PLAIN else repr(value)


def _word(word: str) -> str:
    if whole := _WHOLE.fullmatch(word):
        sign, digits = whole.groups()
        return f"-{digits}" if sign == "-" and digits != "0" else digits
    if _DECIMAL.fullmatch(word):
        return repr(float(word))
    return word.lower() if word.lower() in {"true", "false"} else word


def _check_characters(text: str, what: str) -> None:
    if "\0" in text:
        raise BadCellError(f"has a NUL character in its {what}")
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise BadCellError(f"has half a surrogate pair (\\u{code:04x}) in its {what}") from None


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "an object"
    return f"a {type(value).__name__}"


TEXT_NAMES = re.compile(
    "(full_|raw_)?texts?|reviews?|review_?text|sentences?|contents?|body|comments?|comment_text|"
    "messages?|tweets?|document|utterances?|post|headline|sms"
)
"""Names of columns, in lower case with `_` for what is no letter, that say: here are the texts."""

LABEL_NAMES = re.compile(
    "labels?|class(es)?|class_name|sentiment|category|target|ratings?|stars|polarity|topic|intent|"
    "emotion|genre|y"
)
"""Names of columns that say: here are the labels."""

_INDEX = re.compile(r"|id|ids|idx|index|row|row_id|uid|uuid|unnamed_\d+")
_SHOWN, _SHOWN_LETTERS = 20, 40
_OPTIONS = {"text": "--text-column", "label": "--label-column"}


@dataclass(frozen=True)
class Columns:
    """The columns to read.

    Attributes:
        text: the column of texts.
        label: the column of labels.
        note: which were guessed, and of what; empty if none.
    """

    text: str
    label: str
    note: str = ""


def choose_columns(
    columns: Sequence[str], text_column: str | None, label_column: str | None, *, where: str
) -> Columns:
    """The columns that are named, or whose own names leave no doubt.

    A role that is not named goes to the one column whose name is like `TEXT_NAMES` or
    `LABEL_NAMES`. If there is none and the table has two columns, apart from an index, one of them
    known, it goes to the other.

    Args:
        columns: all columns of the table.
        text_column: as the user named it; None guesses.
        label_column: likewise.
        where: the file, for messages.

    Raises:
        DataError: a named column is missing or there twice, or a guess would be in doubt; lists
            the columns and names the option.
    """
    asked = {"text": text_column, "label": label_column}
    known = {
        role: find_column(columns, name, _OPTIONS[role], where=where)
        for role, name in asked.items()
        if name is not None
    }
    if len(set(known.values())) < len(known):
        raise DataError(
            f"{where}: the column {known['text']!r} cannot be both text and label",
            remedy="name two columns with --text-column and --label-column",
        )
    names = {"text": TEXT_NAMES, "label": LABEL_NAMES}
    matches = {
        role: _matching(columns, names[role], apart_from=known.values())
        for role in asked
        if role not in known
    }
    found = {role: fits[0] for role, fits in matches.items() if len(fits) == 1} | known
    if len(found) == 1:
        (role,) = asked.keys() - found.keys()
        others = [name for name in columns if not _is_index(name) and name not in found.values()]
        if len(others) == 1:
            found[role] = others[0]
    if len(found) < 2:
        raise _in_doubt(columns, [role for role in asked if role not in found], where)
    guessed = [f"{role} {found[role]!r}" for role in asked if role not in known]
    note = f"columns guessed in {where}: {', '.join(guessed)} (of {_listed(columns)})"
    return Columns(found["text"], found["label"], note if guessed else "")


def choose_text_column(columns: Sequence[str], text_column: str | None, *, where: str) -> str:
    """The column of texts in a table that need not have labels.

    Raises:
        DataError: it is missing or in doubt.
    """
    if text_column is not None:
        return find_column(columns, text_column, _OPTIONS["text"], where=where)
    useful = [name for name in columns if not _is_index(name)]
    fits = _matching(columns, TEXT_NAMES)
    if not fits:
        fits = [name for name in useful if not LABEL_NAMES.fullmatch(_plain(name))]
    if len(fits) != 1:
        raise _in_doubt(columns, ["text"], where)
    return fits[0]


def find_column(columns: Sequence[str], name: str, option: str, *, where: str) -> str:
    """The column of this name; spaces around it and capitals count only if they decide.

    Raises:
        DataError: there is none, or there are two.
    """
    exact = [column for column in columns if column == name]
    loose = [column for column in columns if column.strip().casefold() == name.strip().casefold()]
    fits = exact or loose
    if not fits:
        raise DataError(
            f"{where} has no column {name!r}; its columns are {_listed(columns)}",
            remedy=f"name one of them with {option} (the first row must hold their names)",
        )
    if len(fits) > 1:
        raise DataError(
            f"{where} has {len(fits)} columns called {name!r}", remedy="rename all but one"
        )
    return fits[0]


def _matching(
    columns: Sequence[str], names: re.Pattern[str], apart_from: Collection[str] = ()
) -> list[str]:
    return [name for name in columns if names.fullmatch(_plain(name)) and name not in apart_from]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def _is_index(name: str) -> bool:
    return _INDEX.fullmatch(_plain(name)) is not None


def _in_doubt(columns: Sequence[str], roles: Sequence[str], where: str) -> DataError:
    what = " and which the ".join(f"{role}s" for role in roles)
    return DataError(
        f"{where}: it is not clear which column holds the {what}; "
        f"the columns are {_listed(columns)}",
        remedy=f"name {'it' if len(roles) == 1 else 'them'} with "
        + " and ".join(_OPTIONS[role] for role in roles)
        + " (the first row must hold the names)",
    )


def _listed(columns: Sequence[str]) -> str:
    shown = [
        repr(name if len(name) <= _SHOWN_LETTERS else name[:_SHOWN_LETTERS] + "…")
        for name in columns[:_SHOWN]
    ]
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    return ", ".join(shown) + more


MOST_CLASSES = 1000
FEW_CLASSES = 20
"""Up to this many, labels are classes however rare each is."""

_LABEL_LETTERS = 60


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
    return repr(label if len(label) <= _LABEL_LETTERS else label[:_LABEL_LETTERS] + "…")


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
