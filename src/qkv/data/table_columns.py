"""Which columns hold texts and labels, what a cell says, and which labels are classes.

A label is a word. Numbers become words that stand for their value, so that `1`, `"1"`, `1.0` and
`"+1"` are one label; `01` stays as it is, since it may be a code. True and false lose their
capitals.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from qkv.data.dataset import quoted
from qkv.errors import DataError

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

MOST_CLASSES = 1000
FEW_CLASSES = 20
"""Up to this many, labels are classes however rare each is."""

_INDEX_NAMES = re.compile(r"|id|ids|idx|index|row|row_id|uid|uuid|unnamed_\d+")
_NAMES = {"text": TEXT_NAMES, "label": LABEL_NAMES}
_OPTIONS = {"text": "--text-column", "label": "--label-column"}
_SHOWN = 20
_WHOLE = re.compile(r"([+-]?)(0|[1-9][0-9]*)(?:\.0*)?")
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9][0-9]*)\.[0-9]{1,17}")
_EXPONENT_FROM = 10**16
"""Floats from here on are written with an exponent, in files as here."""


class Columns(NamedTuple):
    """The columns to read; `note` says which were guessed, and of what."""

    text: str
    label: str
    note: str = ""


def choose_columns(
    columns: Sequence[str], text_column: str | None, label_column: str | None, *, where: str
) -> Columns:
    """The columns that the user named, or whose own names leave no doubt.

    A role that is not named goes to the one column whose name is like `TEXT_NAMES` or
    `LABEL_NAMES`. If there is none and the table has two columns, apart from an index, one of them
    known, it goes to the other. `where` is the file, for messages.

    Raises:
        DataError: a named column is missing or there twice, or a guess would be in doubt; lists
            the columns and names the option.
    """
    asked = {"text": text_column, "label": label_column}
    found = {
        role: find_column(columns, name, _OPTIONS[role], where=where)
        for role, name in asked.items()
        if name is not None
    }
    if len(set(found.values())) < len(found):
        raise DataError(
            f"{where}: the column {found['text']!r} cannot be both text and label",
            remedy="name two columns with --text-column and --label-column",
        )
    guessed = [role for role in asked if role not in found]
    for role in guessed:
        fits = [name for name in _matching(columns, _NAMES[role]) if name not in found.values()]
        if len(fits) == 1:
            found[role] = fits[0]
    taken = {*found.values(), *_matching(columns, _INDEX_NAMES)}
    others = [name for name in columns if name not in taken]
    doubt = [role for role in asked if role not in found]
    if len(doubt) == len(others) == 1:
        found[doubt[0]] = others[0]
    elif doubt:
        raise _in_doubt(columns, doubt, where)
    words = ", ".join(f"{role} {found[role]!r}" for role in guessed)
    note = f"columns guessed in {where}: {words} (of {_listed(columns)})"
    return Columns(found["text"], found["label"], note if guessed else "")


def choose_text_column(columns: Sequence[str], text_column: str | None, *, where: str) -> str:
    """The column of texts in a table that need not have labels.

    Raises:
        DataError: it is missing or in doubt.
    """
    if text_column is not None:
        return find_column(columns, text_column, _OPTIONS["text"], where=where)
    others = {*_matching(columns, _INDEX_NAMES), *_matching(columns, LABEL_NAMES)}
    fits = _matching(columns, TEXT_NAMES) or [name for name in columns if name not in others]
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


class BadCellError(Exception):
    """A cell that is no text or no label, and why."""


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
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if math.isinf(value):
            raise BadCellError("has an infinite label")
        case float() if not math.isnan(value):  # nan: how tables of numbers write a missing value
            plain = value.is_integer() and abs(value) < _EXPONENT_FROM
            return str(int(value)) if plain else repr(value)
        case str() if word := value.strip():
            _check_characters(word, "label")
            if whole := _WHOLE.fullmatch(word):
                sign, digits = whole.groups()
                return f"-{digits}" if sign == "-" and digits != "0" else digits
            if _DECIMAL.fullmatch(word):
                return repr(float(word))
            return word.lower() if word.lower() in {"true", "false"} else word
        case None | float() | str():
            raise BadCellError("has no label")
    raise BadCellError(f"has {_kind(value)} for a label")


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels in class order: by value if all are numbers, else as words."""
    values = {label: _value(label) for label in sorted(set(labels))}
    if None in values.values():
        return tuple(values)
    return tuple(sorted(values, key=lambda label: (values[label] or 0.0, len(label), label)))


def refuse_what_are_no_classes(labels: Sequence[str], *, column: str, where: str) -> None:
    """Refuse labels that look like names, texts or measurements rather than classes.

    These are more than 1,000 different ones, or more than 20 of which half or more occur once or
    some are fractions.

    Raises:
        DataError: saying how many there are.
    """
    counts = Counter(labels)
    rare = sum(count == 1 for count in counts.values())
    if len(counts) <= FEW_CLASSES:
        return
    if len(counts) > MOST_CLASSES:
        why = f"at most {MOST_CLASSES:,} classes can be told apart"
    elif any(value is not None and not value.is_integer() for value in map(_value, counts)):
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


def refuse_unknown(
    rows: Iterable[tuple[str, str]], known: Collection[str], *, problem: str, remedy: str
) -> None:
    """Refuse (label, place) rows of labels beyond the known ones; `problem` ends the sentence.

    Raises:
        DataError: naming the first such label with its first row, and how many others there are.
    """
    first: dict[str, str] = {}
    for label, name in rows:
        if label not in known:
            first.setdefault(label, name)
    if first:
        label, name = next(iter(first.items()))
        more = f" (and {len(first) - 1} more labels alike)" if len(first) > 1 else ""
        raise DataError(f"{name} has the label {quoted(label)}, {problem}{more}", remedy=remedy)


def _matching(columns: Sequence[str], names: re.Pattern[str]) -> list[str]:
    words = {name: re.sub(r"[\W_]+", "_", name.casefold()).strip("_") for name in columns}
    return [name for name in columns if names.fullmatch(words[name])]


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
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    return ", ".join(map(quoted, columns[:_SHOWN])) + more


def _value(label: str) -> float | None:
    # `float` alone would take "nan", "infinity" and "1_000" for numbers.
    if not label.isascii() or label.strip("+-.0123456789e"):
        return None
    try:
        return float(label)
    except ValueError:
        return None


def _check_characters(text: str, what: str) -> None:
    if "\0" in text:
        raise BadCellError(f"has a NUL character in its {what}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise BadCellError(f"has half a surrogate pair (\\u{code:04x}) in its {what}") from None


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", dict: "an object"}
    return kinds.get(type(value), f"a {type(value).__name__}")
