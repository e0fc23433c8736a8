"""Words laid out as flowing text, each at a place of its own."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from qkv.data.dataset import IntArray
from qkv.errors import ShapeError
from qkv.figures.style import (
    INK,
    Sheet,
    class_colours,
    house_style,
    new_figure,
    percent,
    short_name,
)

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
    sheet = Sheet(width, height)
    sheet.write(width / 2, 0.24, "Most confident mistakes", "center", ha="center", size=11)
    colours = dict(zip(class_names, class_colours(len(class_names)), strict=True))
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
            sheet.figure.add_artist(chip)
            text = _fitting(words, name, after, room - _CHIP - 0.16, known, measure_head)
            sheet.write(left + at + _CHIP + 0.06, top, text, fontproperties=head)
        for line, text in enumerate(lines):
            # A line each: the height of letters must not move the lines below.
            sheet.write(left, top + _HEAD + _LINE * line, text, "baseline", fontproperties=body)
    return sheet.figure


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
