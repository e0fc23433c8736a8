"""An image with what in it speaks for a class, and how far to believe that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from qkv.errors import ShapeError
from qkv.figures.contributions import (
    colours_of,
    draw_top_classes,
    headline,
    label_bar,
    method_title,
)
from qkv.figures.faithfulness import draw_curves, write_sentence
from qkv.figures.sheet import Sheet
from qkv.figures.style import MUTED, bare, house_style, short_name

_WIDTH, _HEIGHT, _EDGE = 10.0, 6.2, 0.25  # inches
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

    Args:
        pixels: (height, width) or (height, width, 3).
        heat: (height, width).
        colours: from heat to colours.

    Returns:
        (height, width, 3), from 0 to 1.
    """
    grey = pixels if pixels.ndim == 2 else pixels @ np.array([0.299, 0.587, 0.114])
    light = _DARKEST + (1 - _DARKEST) * grey / 255
    painted: npt.NDArray[np.float64] = colours.to_rgba(heat)[..., :3] * light[..., None]
    return painted
