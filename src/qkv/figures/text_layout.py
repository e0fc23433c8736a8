"""Words laid out as flowing text, each at a place of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text

from qkv.data.dataset import IntArray
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


ELLIPSIS = "…"
# Words on either side of a strong one that a cut text keeps, so that it can be understood.
_CONTEXT = 5


@dataclass(frozen=True)
class Piece:
    """Letters that stand together."""

    letters: str  # without white space at the ends
    word: int | None  # index of the word that they belong to; None between words
    spaced: bool  # whether white space comes before


@dataclass(frozen=True)
class Placed:
    """A piece, or a part of one, with its place."""

    letters: str
    word: int | None  # as in `Piece`
    line: int  # from 0
    left: float  # inches from the left edge
    width: float  # inches


def pieces_of(text: str, words: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """A text as its words, by `start` and `end` in order, and what stands between them."""
    pieces: list[Piece] = []
    end = 0
    spaced = False
    for number, word in enumerate([*words, {"start": len(text), "end": len(text)}]):
        between = text[end : word["start"]]
        for place, chunk in enumerate(between.split()):
            after_space = spaced or place > 0 or between[0].isspace()
            pieces.append(Piece(chunk, None, after_space))
            spaced = False
        spaced = (spaced or bool(between)) and (not between.strip() or between[-1].isspace())
        letters = " ".join(text[word["start"] : word["end"]].split())
        if letters:
            pieces.append(Piece(letters, number, spaced))
            spaced = False
        end = word["end"]
    return pieces


def lay_out(pieces: Sequence[Piece], width: float, measure: Measure) -> list[Placed]:
    """Break lines of `width` inches at white space; else only what is wider than a line."""
    space = measure("a a") - measure("aa")
    placed: list[Placed] = []
    line, used = 0, 0.0
    units: list[list[Piece]] = []  # pieces that no white space parts
    for piece in pieces:
        if units and not piece.spaced:
            units[-1].append(piece)
        else:
            units.append([piece])
    for unit in units:
        wide = sum(measure(piece.letters) for piece in unit)
        gap = space if used and unit[0].spaced else 0.0
        if used and used + gap + wide > width:
            line, used, gap = line + 1, 0.0, 0.0
        used += gap
        for piece in unit:
            for letters in _broken(piece.letters, width, measure):
                extent = measure(letters)
                if used and used + extent > width:
                    line, used = line + 1, 0.0
                placed.append(Placed(letters, piece.word, line, used, extent))
                used += extent
    return placed


def lay_out_what_matters(
    pieces: Sequence[Piece],
    weights: Sequence[float],
    width: float,
    measure: Measure,
    most_lines: int,
) -> list[Placed]:
    """All of a text, or as much around its words of largest `weights` as `most_lines` hold."""
    placed = lay_out(pieces, width, measure)
    if not placed or placed[-1].line < most_lines:
        return placed
    strongest = np.argsort(-np.asarray(weights, dtype=np.float64), kind="stable")
    # The more words are kept, the more lines they take: halve between what fits and what does not.
    fits, too_many = 0, len(strongest)
    best = lay_out(shortened(pieces, strongest[:1]), width, measure)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        trial = lay_out(shortened(pieces, strongest[:middle]), width, measure)
        if trial[-1].line < most_lines:
            fits, best = middle, trial
        else:
            too_many = middle
    return best


def shortened(pieces: Sequence[Piece], kept_words: IntArray) -> list[Piece]:
    """The pieces of the words with these indices and beside them; an ellipsis for each gap."""
    steps = range(-_CONTEXT, _CONTEXT + 1)
    wanted = {int(word) + step for word in kept_words for step in steps}
    kept: list[Piece] = []
    skipped = keeping = False
    for piece in pieces:
        if piece.word is not None:
            keeping = piece.word in wanted
        if not keeping:
            skipped = True
            continue
        if skipped:
            kept.append(Piece(ELLIPSIS, None, bool(kept)))
        kept.append(Piece(piece.letters, piece.word, piece.spaced or skipped))
        skipped = False
    if skipped:
        kept.append(Piece(ELLIPSIS, None, bool(kept)))
    return kept


def wrapped(words: Sequence[str], width: float, measure: Measure) -> list[str]:
    """Words with spaces between them in lines of at most `width` inches."""
    lines: dict[int, list[str]] = {}
    for placed in lay_out([Piece(word, None, True) for word in words], width, measure):
        lines.setdefault(placed.line, []).append(placed.letters)
    return [" ".join(line) for line in lines.values()]


def _broken(letters: str, width: float, measure: Measure) -> list[str]:
    """Letters in parts that fit on a line; nearly always one."""
    if measure(letters) <= width:
        return [letters]
    parts = [""]
    for letter in letters:
        if parts[-1] and measure(parts[-1] + letter) > width:
            parts.append("")
        parts[-1] += letter
    return parts


class Sheet:
    """An empty figure, placed upon in inches from its left and its top."""

    def __init__(self, width: float, height: float) -> None:
        self.figure: Figure = new_figure(width, height, layout=False)
        self._width, self._height = width, height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose frame lies there."""
        wide, high = self._width, self._height
        return self.figure.add_axes(
            (left / wide, 1 - (top + height) / high, width / wide, height / high)
        )

    def write(self, left: float, middle: float, text: str, **look: Any) -> Text:
        """A line of text that begins at `left` and whose middle is `middle` from the top."""
        spot = left / self._width, 1 - middle / self._height
        return self.figure.text(*spot, text, va="center_baseline", **look)
