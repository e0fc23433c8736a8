"""Options that several commands share, so that they read and behave the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
        "--text-column",
        metavar="NAME",
        help="The column of a table that holds the texts; guessed where its name is clear.",
    ),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        metavar="NAME",
        help="The column that holds the classes; guessed where its name is clear.",
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
