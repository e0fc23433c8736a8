"""`qkv explain`: what in an image or a text speaks for its class, and how far to believe that."""

from __future__ import annotations

import errno
import io
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from qkv.cli.console import draws, messages_console, printable
from qkv.cli.options import JsonFlag, RunArgument
from qkv.errors import DataError, QKVError

STANDARD_INPUT = "-"
ATTENTION = "attention"


def explain(
    run: RunArgument,
    given: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="An image; for a model of texts, a text, or - for one on standard input.",
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How it is explained; the default is the method that measured best.",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="LABEL", help="The class that is explained; the answer if left out."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FIGURE", help="Write a .png or .svg figure, or all numbers as .json."
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Show the attention of this layer, from 1, the lowest; for texts, of the encoder.",
        ),
    ] = None,
    head: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="With --layer: of this head, from 0.  [default: the mean of all]",
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            help="With --layer: from this patch, as ROW,COLUMN from 1, or from this word.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of what is drawn at random.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Show what in an image or a text speaks for its class, and whether that can be believed.

    Put -- before a text that begins with a dash.
    """
    from qkv.cli.predict import ready_classifier, task_of

    if layer is None and (head is not None or query is not None):
        raise QKVError("--head and --query are of a layer", remedy="name it with --layer")
    if layer is not None and method not in (None, ATTENTION):
        raise QKVError(
            f"--layer is for attention, not for {method}", remedy="leave out the one or the other"
        )
    if out is not None:
        check_explanation_file(out)
    asked = _text(given) if task_of(run) == "text" else _image(given)
    with _busy():
        classifier = ready_classifier(run)
        if layer is None:
            from qkv.explanation.explain import explain as explain_input

            explanation = explain_input(classifier, asked, method=method, label=label, seed=seed)
        else:
            from qkv.explanation.explain import explain_attention

            explanation = explain_attention(
                classifier, asked, layer=layer, head=head, query=query, label=label, seed=seed
            )
        document = explanation.document()
        if out is not None:
            write_explanation(out, document)
    if as_json:
        sys.stdout.write(json_line(document))
        return
    from qkv.cli.explanation_output import print_explanation

    print_explanation(document)
    if out is not None:
        sys.stdout.write(f"\nwritten to {printable(str(out))}\n")


def _text(given: str) -> str:
    """The text itself, or all of standard input as one.

    Raises:
        DataError: it is empty, not UTF-8, or the name of a file.
    """
    from qkv.cli.predict import refuse_file, standard_input

    text, name = given, "the text"
    if given == STANDARD_INPUT:
        name = "standard input"
        try:
            text = standard_input().read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(
                f"standard input has a byte 0x{error.object[error.start]:02x} that is not UTF-8",
                remedy="give it as UTF-8",
            ) from None
    else:
        refuse_file(text)
    if not text.strip():
        raise DataError(f"{name} is empty", remedy="give a text with at least one word")
    return text


def _image(given: str) -> Path:
    path = Path(given)
    if path.is_dir():
        raise DataError(f"{given} is a folder", remedy="name one image")
    if not path.exists():
        raise DataError(f"there is no {given}", remedy="name an image")
    return path


def _busy() -> AbstractContextManager[object]:
    """A sign that something goes on, on a terminal."""
    if not draws(sys.stderr):
        return nullcontext()
    return messages_console().status("explaining")


FIGURES = (".png", ".svg")
SUFFIXES = (*FIGURES, ".json")


def check_explanation_file(path: Path) -> None:
    """Refuse, before any work, a file that could not be written in the end.

    Raises:
        DataError: its suffix is unknown, or it is a folder, or its own folder cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"--out {path} does not say its format",
            remedy=f"end its name in one of {', '.join(SUFFIXES)}",
        )
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        if not path.absolute().parent.is_dir():
            reason = f"there is no folder {path.parent}"
        raise DataError(f"cannot write {path}: {reason}", remedy="choose another --out") from None


def write_explanation(path: Path, document: Mapping[str, Any]) -> None:
    """Write a checked path as a whole; its suffix chooses the format.

    Raises:
        RunError: the disk is full or the folder cannot be written after all.
    """
    from qkv.files import replace_file

    kind = path.suffix.lower()
    if kind in FIGURES:
        content = _picture(document, kind.removeprefix("."))
    else:
        content = json_line(document).encode()
    replace_file(path, content)


def json_line(document: Mapping[str, Any]) -> str:
    """A document on one line: an image indented would be a line a pixel."""
    return json.dumps(document, allow_nan=False) + "\n"


def _picture(document: Mapping[str, Any], kind: str) -> bytes:
    from qkv.figures.explanation import draw_explanation
    from qkv.figures.style import PNG_DPI, house_style

    figure = draw_explanation(document)
    metadata = {"Title": "explanation", **({"Date": None} if kind == "svg" else {})}
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=metadata)
    return buffer.getvalue()
