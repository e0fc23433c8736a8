"""The folder of a study: study.json and its figure as PNG and SVG."""

from __future__ import annotations

import json
import os
from pathlib import Path

from qkv.errors import RunError
from qkv.studies.document import StudyDocument
from qkv.studies.registry import STUDIES

DOCUMENT = "study.json"


def require_writable(folder: Path) -> None:
    """See, before the work begins, that its result can be written; nothing is made yet.

    Raises:
        RunError: the folder, or the nearest one above it that exists, cannot be written.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise RunError(f"{existing} is not a folder", remedy="choose another --out")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(f"cannot write in {existing}", remedy="choose another --out")


def write_study(document: StudyDocument, folder: Path) -> list[Path]:
    """Write `study.json`, then the figure as `NAME.png` and `NAME.svg`.

    Each file is replaced as a whole, and no other file of the folder is touched.

    Returns:
        The three paths.

    Raises:
        RunError: the folder cannot be written or the disk is full.
    """
    from qkv.figures.style import save_figure
    from qkv.runs import replace_file

    name = document["study"]
    figure = STUDIES[name].draw(document)
    content = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(folder / DOCUMENT, content.encode())
    try:
        return [folder / DOCUMENT, *save_figure(figure, folder, name)]
    except OSError as error:
        raise RunError(
            f"cannot write {folder}: {error}", remedy="free the disk or choose another --out"
        ) from None
