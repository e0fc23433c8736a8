"""`qkv data`: fetch a data set, or look into one before training on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qkv.cli.cache import cache
from qkv.cli.console import print_json, printable, say
from qkv.cli.options import DataOption, JsonFlag, LabelColumnOption, TextColumnOption
from qkv.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from qkv.data.locate import Located
    from qkv.training.progress import Progress

FASHION_MNIST, IMDB = "fashion-mnist", "imdb"
DATA_SETS = (FASHION_MNIST, IMDB)

data = typer.Typer(
    help="Fetch a data set, look into one, or see what is kept of it.", rich_markup_mode=None
)
data.add_typer(cache, name="cache")


@data.command()
def get(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="fashion-mnist or imdb.", show_default=False)
    ],
    folder: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Find or fetch a data set, verify it, and print the folder that holds it."""
    from qkv.cli.reporter import make_reporter

    _require_known(name)
    with make_reporter() as reporter:
        located = _locate(name, folder, reporter.progress("data", "bytes"))
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
        say(f"{name} is complete and verified ({printable(located.source)})")
        sys.stdout.write(f"{located.folder}\n")


@data.command()
def inspect(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A folder of images, a table or folder of texts, fashion-mnist or imdb.",
            show_default=False,
        ),
    ],
    folder: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Draw a contact sheet of every class.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show classes, splits, sizes, copies, and bad files or rows of a data set."""
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise DataError(f"--sheet {sheet} is not a PNG file", remedy="end its name in .png")
    _require_path_or_name(target, folder)
    if _holds_texts(target):
        if sheet is not None:
            raise DataError("texts have no contact sheet", remedy="leave out --sheet")
        _inspect_texts(target, folder, text_column, label_column, as_json)
        return
    if text_column is not None or label_column is not None:
        raise DataError(
            f"--text-column and --label-column are for texts, and {target} holds none",
            remedy="leave them out",
        )
    _inspect_images(target, folder, sheet, as_json)


def _inspect_images(target: str, folder: Path | None, sheet: Path | None, as_json: bool) -> None:
    document, picture = _audited_images(target, folder, with_sheet=sheet is not None)
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


def _inspect_texts(
    target: str,
    folder: Path | None,
    text_column: str | None,
    label_column: str | None,
    as_json: bool,
) -> None:
    from qkv.cli.text_inspection import audited_texts
    from qkv.data.text_table import TextTableSettings

    given = {"text_column": text_column, "label_column": label_column}
    settings = TextTableSettings.parse(given, where="--text-column, --label-column")
    document = audited_texts(None if target == IMDB else Path(target), folder, settings)
    if as_json:
        print_json(document)
        return
    from qkv.cli.text_audit_tables import print_text_audit

    print_text_audit(document)


def _audited_images(
    target: str, folder: Path | None, *, with_sheet: bool
) -> tuple[dict[str, Any], Image | None]:
    from qkv.cli.reporter import make_reporter
    from qkv.data import fashion_mnist
    from qkv.data.audit import audit_dataset, audit_images
    from qkv.data.contact_sheet import contact_sheet, contact_sheet_of_folder

    if target == FASHION_MNIST:
        with make_reporter() as reporter:
            dataset = fashion_mnist.load(folder, progress=reporter.progress("data", "bytes"))
        return audit_dataset(dataset), contact_sheet(dataset) if with_sheet else None
    with make_reporter() as reporter:
        document = audit_images(target, progress=reporter.progress("data", "files"))
    return document, contact_sheet_of_folder(target) if with_sheet else None


def _locate(name: str, folder: Path | None, progress: Progress) -> Located[Any]:
    from qkv.data import fashion_mnist, imdb

    if name == IMDB:
        return imdb.locate(folder, progress=progress)
    return fashion_mnist.locate(folder, progress=progress)


def _holds_texts(target: str) -> bool:
    from qkv.cli.own_data import kind_of_data

    if target in DATA_SETS:
        return target == IMDB
    path = Path(target)
    kind = kind_of_data(path)
    # What is neither is described best by the reader of its form: tables are files.
    return kind == "text" if kind is not None else path.is_file()


def _require_path_or_name(target: str, folder: Path | None) -> None:
    if target in DATA_SETS:
        return
    if folder is not None:
        raise DataError(
            "--data says where a named data set is", remedy=f"name the folder alone: {folder}"
        )
    path = Path(target)
    if path.exists():
        return
    if path.suffix:
        raise DataError(f"there is no file {target}", remedy="check the path")
    if not {"/", "\\"} & set(target):
        _require_known(target)


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
