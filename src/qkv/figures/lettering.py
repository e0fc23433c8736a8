"""Which letters can be drawn, and how wide they are."""

from __future__ import annotations

import functools
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text

from qkv.figures.style import new_figure

MISSING = "▯"

Measure = Callable[[str], float]


def measure_with(font: FontProperties) -> Measure:
    """A function from a text on one line to its width in inches, as the renderer draws it."""
    figure = new_figure(1, 1, layout=False)
    artist = Text(0, 0, "", fontproperties=font, figure=figure)

    @functools.cache
    def measure(text: str) -> float:
        artist.set_text(text)
        return artist.get_window_extent().width / figure.dpi

    return measure


def known_letters() -> set[int]:
    """Every character that one of the house's fonts can draw."""
    fonts = [findfont(FontProperties(family=name)) for name in mpl.rcParams["font.sans-serif"]]
    return {code for font in fonts for code in get_font(font).get_charmap()}


def drawable(text: str, known: set[int]) -> str:
    """A text in which a box stands for each letter that cannot be drawn; white space stays."""
    return "".join(
        letter if letter.isspace() or (letter.isprintable() and ord(letter) in known) else MISSING
        for letter in text
    )
