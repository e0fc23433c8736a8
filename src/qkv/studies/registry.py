"""Every study by name, and what draws it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qkv.errors import RunError
from qkv.studies.study import StudyDocument

if TYPE_CHECKING:
    from matplotlib.figure import Figure


STUDIES = {
    "recurrence": "what a one-number recurrent network computes, step by step and in closed form",
    "copying": "how fast attention without weights becomes a copy as its tokens grow",
    "linear-attention": (
        "time and memory of linear against softmax attention, and from which length it pays"
    ),
    "quality": (
        "the same small ViT trained with softmax and with linear attention: accuracy and time"
    ),
}
"""The question of each study, in one line."""


def draw_study(document: Mapping[str, Any]) -> Figure:
    """The figure of a study, from its document alone."""
    # Here, so that listing the studies does not wait for matplotlib.
    from qkv.figures.accuracy import draw_accuracy
    from qkv.figures.copying import draw_copying
    from qkv.figures.linear_attention import draw_linear_attention
    from qkv.figures.recurrence import draw_recurrence

    draw = {
        "recurrence": draw_recurrence,
        "copying": draw_copying,
        "linear-attention": draw_linear_attention,
        "quality": draw_accuracy,
    }
    return draw[document["study"]](document)


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
    from qkv.files import replace_file

    name = document["study"]
    figure = draw_study(document)
    content = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(folder / DOCUMENT, content.encode())
    try:
        return [folder / DOCUMENT, *save_figure(figure, folder, name)]
    except OSError as error:
        raise RunError(
            f"cannot write {folder}: {error}", remedy="free the disk or choose another --out"
        ) from None
