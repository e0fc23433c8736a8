"""`qkv explain`: what in an image or a text speaks for its class, and how far to believe that."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from qkv.cli.console import draws, messages_console, printable
from qkv.cli.options import JsonFlag, RunArgument, check_out
from qkv.cli.predict import (
    STANDARD_INPUT,
    ready_classifier,
    refuse_file,
    standard_input,
    task_of,
)
from qkv.errors import DataError, QKVError

ATTENTION = "attention"
SUFFIXES = (".png", ".svg", ".json")


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
    if layer is None and (head is not None or query is not None):
        raise QKVError("--head and --query are of a layer", remedy="name it with --layer")
    if layer is not None and method not in (None, ATTENTION):
        raise QKVError(
            f"--layer is for attention, not for {method}", remedy="leave out the one or the other"
        )
    if out is not None:
        check_out(out, SUFFIXES)
    asked = _text(given) if task_of(run) == "text" else _image(given)
    busy = messages_console().status("explaining") if draws(sys.stderr) else nullcontext()
    with busy:
        from qkv.explanation import explain as explaining

        classifier = ready_classifier(run)
        if layer is None:
            explanation = explaining.explain(
                classifier, asked, method=method, label=label, seed=seed
            )
        else:
            explanation = explaining.explain_attention(
                classifier, asked, layer=layer, head=head, query=query, label=label, seed=seed
            )
        document = explanation.document()
        if out is not None:
            from qkv.figures.explanation import draw_explanation
            from qkv.figures.style import figure_bytes
            from qkv.files import replace_file

            content, kind = _json_line(document).encode(), out.suffix.lower()
            if kind != ".json":
                content = figure_bytes(draw_explanation(document), kind[1:], title="explanation")
            replace_file(out, content)
    if as_json:
        sys.stdout.write(_json_line(document))
        return
    from qkv.cli.explanation_output import print_explanation

    print_explanation(document)
    if out is not None:
        sys.stdout.write(f"\nwritten to {printable(str(out))}\n")


def _text(given: str) -> str:
    from qkv.data.table_readers import not_utf8

    text, name = given, "the text"
    if given == STANDARD_INPUT:
        name = "standard input"
        try:
            text = standard_input().read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{name} {not_utf8(error)}", remedy="give it as UTF-8") from None
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


def _json_line(document: Mapping[str, Any]) -> str:
    """A document on one line: an image indented would be a line a pixel."""
    return json.dumps(document, allow_nan=False) + "\n"
