"""An explanation as a file: a figure, or its document."""

from __future__ import annotations

import errno
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qkv.errors import DataError

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
    from qkv.runs import replace_file

    kind = path.suffix.lower()
    if kind in FIGURES:
        content = _picture(document, kind.removeprefix("."))
    else:
        content = as_json(document).encode()
    replace_file(path, content)


def as_json(document: Mapping[str, Any]) -> str:
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
