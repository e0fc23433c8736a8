"""Options that several commands share, so that they read and behave the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output.")
]
SkipBadFlag = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out files that cannot be used and record them.")
]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A folder made by qkv train.", show_default=False)
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        help="A folder of images, or of the data set's files.",
        show_default=False,
    ),
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the recipe, such as training.epochs=3. More may follow.",
        show_default=False,
    ),
]
