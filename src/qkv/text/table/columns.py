"""Which column holds the texts and which the labels: as told, or guessed where that is safe."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

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
