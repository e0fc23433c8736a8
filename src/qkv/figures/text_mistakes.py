"""Texts that a model takes for another class and is sure of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from qkv.errors import ShapeError
from qkv.figures.style import INK, class_colours, house_style, new_figure, percent, short_name
from qkv.figures.text_layout import Measure, drawable, known_letters, measure_with, wrapped

_MOST_MISTAKES = 8
_MOST_LINES = 7
_COLUMN, _GAP, _EDGE = 4.7, 0.45, 0.2  # inches
_LINE, _HEAD, _SPACE = 0.165, 0.28, 0.3  # inches: a line, the line above a text, below a text
_TOP = 0.55
_CHIP = 0.1
_PREDICTED_AT = 1.85  # inches from the left of a column
_LEAST_LETTERS = 8


@house_style()
def draw_text_mistakes(mistakes: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> Figure:
    """Up to eight wrongly classified texts, truth and prediction above each.

    A long text is shown by its beginning and its end. Letters that no font of the machine has are
    shown as boxes.

    Args:
        mistakes: most confident first, each with `text`, `label` and `predicted` (class names) and
            the `probability` of the predicted class.
        class_names: the name of each class, in label order.

    Raises:
        ShapeError: there is no mistake, or one has a class that is none of `class_names`.
    """
    if not mistakes:
        raise ShapeError("no mistake to draw", remedy="draw this figure when there is one")
    for key, entry in itertools.product(("label", "predicted"), mistakes):
        if entry[key] not in class_names:
            raise ShapeError(
                f"a mistake with the {key} {entry[key]!r}, which is no class",
                remedy=f"use the names {', '.join(class_names)}",
            )
    shown = mistakes[:_MOST_MISTAKES]
    columns = min(2, len(shown))
    width = columns * _COLUMN + (columns - 1) * _GAP + 2 * _EDGE
    body, head = FontProperties(size=8.5), FontProperties(size=8.5, weight="bold")
    measure_body, measure_head = measure_with(body), measure_with(head)
    known = known_letters()
    texts = [_shortened(_drawable(entry["text"], known), measure_body) for entry in shown]
    rows = [texts[start : start + columns] for start in range(0, len(texts), columns)]
    heights = [_HEAD + _LINE * max(map(len, row)) + _SPACE for row in rows]
    height = _TOP + sum(heights) - _SPACE + _EDGE / 2
    figure = new_figure(width, height, layout=False)
    title = figure.text(0.5, 1 - 0.24 / height, "Most confident mistakes", size=11)
    title.set(ha="center", va="center")
    colours = dict(zip(class_names, class_colours(len(class_names)), strict=True))

    def write(left: float, below_top: float, text: str, font: FontProperties, place: str) -> None:
        spot = (left / width, 1 - below_top / height)
        figure.text(*spot, text, fontproperties=font, va=place, color=INK)

    for number, (entry, lines) in enumerate(zip(shown, texts, strict=True)):
        row, column = divmod(number, columns)
        left = _EDGE + column * (_COLUMN + _GAP)
        top = _TOP + sum(heights[:row])
        sure = f", {percent(entry['probability'], 1)}"
        for at, room, words, name, after in (
            (0.0, _PREDICTED_AT, "Truth: ", entry["label"], ""),
            (_PREDICTED_AT, _COLUMN - _PREDICTED_AT, "Predicted: ", entry["predicted"], sure),
        ):
            corner = ((left + at) / width, 1 - (top + _CHIP / 2) / height)
            chip = Rectangle(corner, _CHIP / width, _CHIP / height)
            chip.set(facecolor=colours[name], edgecolor=INK, linewidth=0.5)
            figure.add_artist(chip)
            text = _fitting(words, name, after, room - _CHIP - 0.16, known, measure_head)
            write(left + at + _CHIP + 0.06, top, text, head, "center_baseline")
        for line, text in enumerate(lines):
            # A line each: the height of letters must not move the lines below.
            write(left, top + _HEAD + _LINE * line, text, body, "baseline")
    return figure


def _drawable(text: str, known: set[int]) -> str:
    """A text on one line, with a box for each letter that cannot be drawn."""
    return drawable(short_name(text, len(text)), known)


def _fitting(
    before: str, name: str, after: str, room: float, known: set[int], measure: Measure
) -> str:
    """The words with `name` shortened until all of it is no wider than `room` inches."""
    limit = len(name)
    text = before + _drawable(name, known) + after
    while measure(text) > room and limit > _LEAST_LETTERS:
        limit -= 1
        text = before + _drawable(short_name(name, limit), known) + after
    return text


def _shortened(text: str, measure: Measure) -> list[str]:
    """The lines of a text, or of as much of its beginning and its end as `_MOST_LINES` hold."""
    lines = wrapped(text.split() or ["(no visible letter)"], _COLUMN, measure)
    kept = len(text)
    while len(lines) > _MOST_LINES:
        kept = min(int(0.9 * kept), 200 * _MOST_LINES)
        head, tail = text[: 2 * kept // 3], text[len(text) - kept // 3 :]
        # Not within a word, unless there is nothing but one.
        head, tail = head.rpartition(" ")[0] or head, tail.partition(" ")[2] or tail
        lines = wrapped([*head.split(), "…", *tail.split()], _COLUMN, measure)
    return lines
