"""The figure of an explanation, of whichever task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from qkv.figures.image_explanation import draw_image_explanation
from qkv.figures.text_explanation import draw_text_explanation

__all__ = ["draw_explanation", "draw_image_explanation", "draw_text_explanation"]


def draw_explanation(document: Mapping[str, Any]) -> Figure:
    """The figure of an explanation.

    Args:
        document: `Explanation.document()`; its `task` chooses the figure.
    """
    if document["task"] == "text":
        return draw_text_explanation(document)
    return draw_image_explanation(document)
