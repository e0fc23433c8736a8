"""`qkv data`: fetch a data set, or look into one before training on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qkv.cli.console import print_json, printable, say
from qkv.cli.options import DataOption, JsonFlag
from qkv.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FASHION_MNIST = "fashion-mnist"
DATA_SETS = (FASHION_MNIST,)

data = typer.Typer(help="Fetch a data set, or look into one.", rich_markup_mode=None)


@data.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="fashion-mnist.", show_default=False)],
    folder: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Find or fetch a data set, verify it, and print the folder that holds it."""
    from qkv.cli.reporter import make_reporter
    from qkv.vision import fashion_mnist

    _require_known(name)
    with make_reporter("bytes") as reporter:
        located = fashion_mnist.locate(folder, progress=reporter.data)
        for note in located.notes:
            reporter.note(note)
    if as_json:
        print_json(
            {
                "dataset": name,
                "folder": str(located.folder),
                "files": {key: str(path) for key, path in located.files.items()},
                "source": located.source,
            }
        )
    else:
        say(f"{name} is complete and verified ({located.source})")
        sys.stdout.write(f"{located.folder}\n")


@data.command()
def inspect(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="A folder of images, or fashion-mnist.", show_default=False
        ),
    ],
    folder: DataOption = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Draw a contact sheet of every class.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show classes, splits, sizes, copies and bad files of a data set."""
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise DataError(f"--sheet {sheet} is not a PNG file", remedy="end its name in .png")
    document, picture = _inspect(target, folder, with_sheet=sheet is not None)
    if sheet is not None and picture is not None:
        _save(picture, sheet)
        say(f"contact sheet: {printable(str(sheet))}")
    if as_json:
        print_json(document)
        return
    from qkv.cli.audit_tables import print_audit

    print_audit(document)
    if sheet is None:
        say("see the images themselves with --sheet contact-sheet.png")


def _inspect(
    target: str, folder: Path | None, *, with_sheet: bool
) -> tuple[dict[str, Any], Image | None]:
    from qkv.cli.reporter import make_reporter
    from qkv.vision import fashion_mnist
    from qkv.vision.audit import audit_dataset, audit_images
    from qkv.vision.contact_sheet import contact_sheet, contact_sheet_of_folder

    if target in DATA_SETS:
        with make_reporter("bytes") as reporter:
            dataset = fashion_mnist.load(folder, progress=reporter.data)
        return audit_dataset(dataset), contact_sheet(dataset) if with_sheet else None
    if folder is not None:
        raise DataError(
            "--data says where a named data set is", remedy=f"name the folder alone: {folder}"
        )
    if not Path(target).exists() and not {"/", "\\"} & set(target):
        _require_known(target)
    with make_reporter("files") as reporter:
        document = audit_images(target, progress=reporter.data)
    return document, contact_sheet_of_folder(target) if with_sheet else None


def _require_known(name: str) -> None:
    if name not in DATA_SETS:
        from qkv.settings import nearest

        raise DataError(
            f"there is no data set {name!r}", remedy=nearest(name, DATA_SETS, what="data sets")
        )


def _save(picture: Image, path: Path) -> None:
    import io

    from qkv.runs import replace_file

    content = io.BytesIO()
    picture.save(content, format="PNG")
    replace_file(path, content.getvalue())
