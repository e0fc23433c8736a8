"""Options that several commands share, and the check of a file to write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from qkv.errors import DataError, QKVError

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output.")
]
SkipBadFlag = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out files or rows that cannot be used and record them."),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A folder made by qkv train.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="A folder of images, a table or folder of texts, or the data set's files.",
    ),
]
TextColumnOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The column of a table that holds the texts; guessed where its name is clear.",
    ),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The column that holds the classes; guessed where its name is clear."
    ),
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the recipe, such as training.epochs=3. More may follow.",
    ),
]


def split_words(
    words: Sequence[str] | None, settings: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Names, and the overrides: those of `--set`, then words such as `training.epochs=3`."""
    names = [word for word in words or () if "=" not in word]
    return names, [*(settings or ()), *(word for word in words or () if "=" in word)]


def the_one(names: Sequence[str], what: str, remedy: str) -> str:
    """The only one of these names; `what` begins the error, such as `qkv train takes one TASK`.

    Raises:
        QKVError: there is none, or there are several.
    """
    if len(names) != 1:
        found = f"there are {len(names)}: {', '.join(names)}" if names else "it is missing"
        raise QKVError(f"{what}, and {found}", remedy=remedy)
    return names[0]


def named_columns(text_column: str | None, label_column: str | None) -> dict[str, str]:
    """The columns that were given, by the names of their settings."""
    given = {"text_column": text_column, "label_column": label_column}
    return {key: column for key, column in given.items() if column is not None}


def check_out(path: Path, suffixes: Iterable[str]) -> None:
    """Refuse, before any work, a file for `--out` that could not be written in the end.

    Raises:
        DataError: its suffix is none of these, it is a folder, or its folder cannot be written.
    """
    if path.suffix.lower() not in suffixes:
        raise DataError(
            f"--out {path} does not say its format",
            remedy=f"end its name in one of {', '.join(suffixes)}",
        )
    folder = path.absolute().parent
    if path.is_dir():
        reason = "it is a folder"
    elif not folder.is_dir():
        reason = f"there is no folder {path.parent}"
    else:
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return
    raise DataError(f"cannot write {path}: {reason}", remedy="choose another --out")
