"""Whether a reader can read every text of a figure."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text


def visible_texts(figure: Figure) -> list[Text]:
    """Every text a reader sees, but the counts within cells and above bars."""
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        texts += [text for text in axes.texts if text.get_text().startswith(("Truth", "Pred"))]
        legend = axes.get_legend()
        texts += legend.get_texts() if legend else []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = axis.get_major_ticks() if axes.axison else []
            texts += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


Box = tuple[Any, Any, Any]  # centre, half sides, unit vectors along them


def text_box(text: Text) -> Box:
    """The rectangle of the letters; it stands askew where the text does."""
    outer, turn = text.get_window_extent(), text.get_rotation()
    centre = np.array([(outer.x0 + outer.x1) / 2, (outer.y0 + outer.y1) / 2])
    text.set_rotation(0)
    flat = text.get_window_extent()
    text.set_rotation(turn)
    angle = math.radians(turn)
    ways = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return centre, np.array([flat.width, flat.height]) / 2, ways


def overlap(one: Box, other: Box) -> bool:
    """Whether no line separates the two (separating axes), with half a pixel of grace."""
    for way in (*one[2], *other[2]):
        reach = sum(float(np.abs(box[2] @ way) @ box[1]) for box in (one, other))
        if abs(float((one[0] - other[0]) @ way)) > reach - 0.5:
            return False
    return True


def assert_readable(figure: Figure) -> None:
    """No text runs over another or out of the picture."""
    texts = visible_texts(figure)
    boxes = [text_box(text) for text in texts]
    pairs = itertools.combinations(range(len(texts)), 2)
    clashes = [
        (texts[a].get_text(), texts[b].get_text()) for a, b in pairs if overlap(boxes[a], boxes[b])
    ]
    assert not clashes, f"texts run into each other: {clashes}"
    width, height = figure.bbox.size
    for text in texts:
        box = text.get_window_extent()
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        assert inside, f"{text.get_text()!r} leaves the picture"
