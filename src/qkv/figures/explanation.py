"""The figure of an explanation, of whichever task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
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
from qkv.figures.style import INK, MUTED, Sheet, bare, house_style, ink_on, short_name
from qkv.figures.text_layout import (
    Placed,
    drawable,
    known_letters,
    lay_out_what_matters,
    measure_with,
    pieces_of,
)

_WIDTH, _EDGE = 10.0, 0.25  # inches
_HEIGHT = 6.2
_IMAGE, _IMAGE_TOP = 2.75, 0.82
_BELOW = 3.92
# How much of a colour is left where the image is black.
_DARKEST = 0.72


@house_style()
def draw_image_explanation(document: Mapping[str, Any]) -> Figure:
    """The image, the heat over it, the most probable classes, and the faithfulness.

    Heat colours the image and leaves its lights and shadows, so that both are seen at once.

    Args:
        document: `Explanation.document()` of an image.

    Raises:
        ShapeError: pixels and heat differ in size, or a value is not finite.
    """
    pixels = np.asarray(document["pixels"], dtype=np.uint8)
    heat = np.asarray(document["heat"], dtype=np.float64)
    if pixels.ndim not in (2, 3) or pixels.shape[:2] != heat.shape:
        raise ShapeError(
            f"pixels of shape {pixels.shape} and heat of shape {heat.shape}",
            remedy="pass the document of one explanation of an image",
        )
    signed = bool(document["signed"])
    colours = colours_of(heat, signed=signed)
    sheet = Sheet(_WIDTH, _HEIGHT)
    sheet.write(_EDGE, 0.3, headline(document), size=12.5, weight="bold")
    for left, title, picture in (
        (_EDGE, short_name(document["input"], 36), pixels),
        (_EDGE + 3.05, method_title(document), tinted(pixels, heat, colours)),
    ):
        axes = sheet.axes(left, _IMAGE_TOP, _IMAGE, _IMAGE)
        bare(axes)
        # The bounds and the map are for grey only: of colour they change nothing.
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, size=9, loc="left", color=MUTED)
    bar_axes = sheet.axes(6.2, _IMAGE_TOP + 0.1, 0.12, _IMAGE - 0.2)
    label_bar(sheet.figure.colorbar(colours, cax=bar_axes), document["unit"], signed=signed)
    draw_top_classes(sheet.axes(8.2, _IMAGE_TOP, 1.55, _IMAGE), document)
    room = _WIDTH - 2 * _EDGE
    write_sentence(sheet, (_EDGE, _BELOW), room, document["faithfulness"], "the map")
    deletion, insertion = (
        sheet.axes(left, _BELOW + 0.45, 4.1, 1.3) for left in (_EDGE + 0.5, 5.65)
    )
    draw_curves(deletion, insertion, document["faithfulness"], "patches")
    return sheet.figure


def tinted(
    pixels: npt.NDArray[np.uint8], heat: npt.NDArray[np.float64], colours: ScalarMappable
) -> npt.NDArray[np.float64]:
    """The colours of the heat with the lights and shadows of the image.

    Pixels are (height, width) or (height, width, 3), heat is (height, width); the result is
    (height, width, 3), from 0 to 1.
    """
    grey = pixels if pixels.ndim == 2 else pixels @ np.array([0.299, 0.587, 0.114])
    light = _DARKEST + (1 - _DARKEST) * grey / 255
    painted: npt.NDArray[np.float64] = colours.to_rgba(heat)[..., :3] * light[..., None]
    return painted


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


def draw_explanation(document: Mapping[str, Any]) -> Figure:
    """The figure of an `Explanation.document()`, by its `task`."""
    if document["task"] == "text":
        return draw_text_explanation(document)
    return draw_image_explanation(document)
