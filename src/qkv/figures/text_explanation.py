"""A text whose words are shaded by what they speak for, and how far to believe that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch

from qkv.errors import ShapeError
from qkv.figures.contributions import (
    colours_of,
    draw_top_classes,
    headline,
    label_bar,
    method_title,
)
from qkv.figures.faithfulness import draw_curves, write_sentence
from qkv.figures.flowing_words import Placed, lay_out_what_matters, pieces_of
from qkv.figures.lettering import drawable, known_letters, measure_with
from qkv.figures.sheet import Sheet
from qkv.figures.style import INK, MUTED, house_style, ink_on

_WIDTH, _EDGE = 10.0, 0.25  # inches
_LINE = 0.235
_MOST_LINES = 34
_TOP, _BAR, _BOTTOM = 0.84, 0.95, 2.4
_PANELS = ((1.5, 1.75), (4.0, 2.55), (7.15, 2.55))  # left edge and width of each, in inches
# Words that no line should part from their shade: a little more than the letters.
_PAD_ACROSS, _PAD_DOWN = 0.018, 0.03


@house_style()
def draw_text_explanation(document: Mapping[str, Any]) -> Figure:
    """The words, shaded; a colour bar; the most probable classes; and the faithfulness.

    A text that is too long for the figure is cut to what stands around its strongest words, and
    the figure says so. Words that the model did not read are grey.

    Args:
        document: `Explanation.document()` of a text.

    Raises:
        ShapeError: words and contributions differ in number, or a value is not finite.
    """
    words, values = document["words"], document["contributions"]
    if len(words) != len(values):
        raise ShapeError(
            f"{len(words)} words and {len(values)} contributions",
            remedy="pass the document of one explanation of a text",
        )
    signed = bool(document["signed"])
    colours = colours_of(values, signed=signed)
    font = FontProperties(size=9.5)
    room = _WIDTH - 2 * _EDGE
    placed = lay_out_what_matters(
        pieces_of(drawable(document["text"], known_letters()), words),
        np.abs(values).tolist(),
        room,
        measure_with(font),
        _MOST_LINES,
    )
    body = _LINE * (placed[-1].line + 1 if placed else 1)
    under = _TOP + body
    below = under + _BAR
    sheet = Sheet(_WIDTH, below + _BOTTOM)
    sheet.write(_EDGE, 0.3, headline(document), size=12.5, weight="bold")
    sheet.write(_EDGE, 0.58, method_title(document), size=9, color=MUTED)
    page = sheet.axes(_EDGE, _TOP, room, body)
    page.set(xlim=(0, room), ylim=(body, 0))
    page.axis("off")
    _draw_words(page, placed, values, document["read"], colours, font)
    bar_axes = sheet.axes(_WIDTH - _EDGE - 3.0, under + 0.34, 3.0, 0.1)
    bar = sheet.figure.colorbar(colours, cax=bar_axes, orientation="horizontal")
    label_bar(bar, document["unit"], signed=signed)
    for number, note in enumerate(_notes(placed, words, document["read"])):
        sheet.write(_EDGE, under + 0.24 + 0.19 * number, note, size=8.5, color=MUTED)
    write_sentence(sheet, (_EDGE, below), room, document["faithfulness"], "the shading")
    bars, deletion, insertion = (
        sheet.axes(left, below + 0.45, wide, 1.4) for left, wide in _PANELS
    )
    draw_top_classes(bars, document)
    draw_curves(deletion, insertion, document["faithfulness"], "words")
    return sheet.figure


def _draw_words(
    page: Axes,
    placed: Sequence[Placed],
    values: Sequence[float],
    read: int,
    colours: ScalarMappable,
    font: FontProperties,
) -> None:
    shades = colours.to_rgba(np.asarray(values, dtype=np.float64))
    unread = False
    for piece in placed:
        middle = _LINE * (piece.line + 0.5)
        if piece.word is not None:
            unread = piece.word >= read
        ink = MUTED if unread else INK
        if piece.word is not None and not unread:
            shade = shades[piece.word]
            ink = "white" if ink_on(shade) == "white" else INK
            box = FancyBboxPatch(
                (piece.left - _PAD_ACROSS, middle - _LINE / 2 + _PAD_DOWN),
                piece.width + 2 * _PAD_ACROSS,
                _LINE - 2 * _PAD_DOWN,
                boxstyle="round,pad=0,rounding_size=0.03",
                facecolor=shade,
                edgecolor="none",
            )
            page.add_artist(box)  # as `add_patch`, without growing the limits of the axes
            box.set_clip_on(False)
        # The baseline, not the middle of the letters: those of a line must stand level.
        page.text(
            piece.left, middle + 0.045, piece.letters, fontproperties=font, color=ink, va="baseline"
        )


def _notes(placed: Sequence[Placed], words: Sequence[Any], read: int) -> list[str]:
    notes = []
    shown = len({piece.word for piece in placed if piece.word is not None})
    if shown < len(words):
        notes.append(
            f"{shown:,} of {len(words):,} words, those around the strongest; … stands for others."
        )
    if read < len(words):
        notes.append(f"The model read the first {read:,} of {len(words):,} words.")
    return notes
