"""An explanation in the terminal, and the measured faithfulness of methods as a table."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import chain, zip_longest
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image
from rich.console import Console
from rich.text import Text

from qkv.cli.console import (
    counted,
    draws,
    duration,
    percent,
    print_facts,
    print_table,
    printable,
    results_console,
    shown_interval,
)
from qkv.figures.contributions import colours_of, method_name, short_number
from qkv.figures.explanation import tinted
from qkv.figures.faithfulness import faithfulness_sentence
from qkv.figures.style import ink_on
from qkv.figures.text_layout import pieces_of, shortened

STRONGEST = 6


def print_explanation(document: Mapping[str, Any]) -> None:
    """Print the answer, what speaks for it, and whether to believe that.

    A terminal with colours shows the image or the text itself; elsewhere there are lists only.
    """
    console = results_console()
    probabilities, label = document["probabilities"], document["label"]
    answer = max(probabilities, key=probabilities.__getitem__)
    lines = {"answer": f"{answer}  {percent(probabilities[answer])}"}
    if answer != label:
        lines["explained"] = f"{label}  {percent(document['probability'])}"
    lines["method"] = f"{method_name(document['method'])}, {_seconds(document['seconds'])}"
    if document["completeness_gap"] is not None:
        lines["gap"] = f"{document['completeness_gap']:+.2g} {document['unit']} from complete"
    if document["coarsened"] is not None:
        lines["coarsened"] = document["coarsened"]
    lines["faithfulness"] = faithfulness_sentence(document["faithfulness"], "this explanation")
    print_facts(console, lines, 14)
    if draws(sys.stdout) and console.color_system is not None:
        picture = image_picture if document["task"] == "vision" else text_picture
        console.print()
        console.print(picture(document, console.width))
    _print_strongest(console, document)


def print_explanation_scores(document: Mapping[str, Any]) -> None:
    """Print a row a method of `qkv.explanation.evaluate`, the most faithful first."""
    console = results_console()
    default = document["default_method"]
    methods = sorted(document["methods"].items(), key=lambda item: -item[1]["score"])
    title = f"Explanations of {counted(document['examples'], document['example'])}"
    heads = (
        "method", "faithfulness", "random", "deletion beats random", "95 % interval", "median time",
    )  # fmt: skip
    rows = (
        [
            f"{name} (default)" if name == default else name,
            f"{scores['score']:.3f}",
            f"{scores['random_score']:.3f}",
            percent(scores["beats_random"]),
            shown_interval(scores["beats_random_interval_95"]),
            _seconds(scores["median_seconds"]),
        ]
        for name, scores in methods
    )
    print_table(console, title, heads, rows)


def _print_strongest(console: Console, document: Mapping[str, Any]) -> None:
    values = np.asarray(document["contributions"], dtype=np.float64)
    signed = bool(document["signed"])
    part, plural = ("patch", "patches") if document["task"] == "vision" else ("word", "words")
    order = np.argsort(-values, kind="stable")
    sides = [order[values[order] > 0][:STRONGEST]]
    heads = [part, document["unit"]]
    if signed:
        against = order[::-1]
        sides.append(against[values[against] < 0][:STRONGEST])
        heads = ["for", document["unit"], "against", document["unit"]]
    cells = [
        [(_part_name(document, int(one)), short_number(values[one], signed=signed)) for one in side]
        for side in sides
    ]
    rows = (chain(*row) for row in zip_longest(*cells, fillvalue=("", "")))
    print_table(console, f"Strongest {plural}", heads, rows)


def _part_name(document: Mapping[str, Any], part: int) -> str:
    """A word, or the place of a patch counted from 1."""
    if document["task"] == "text":
        return str(document["words"][part]["text"])
    row, column = divmod(part, document["grid_size"])
    return f"row {row + 1}, column {column + 1}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 1 else duration(value)


_MOST_COLUMNS = 32
_GAP = 4
# A long text is cut to so many of its strongest words with those beside them.
_MOST_WORDS, _KEPT_WORDS = 600, 60
# A terminal may be dark, and pale shades would glare there most of all: words have a ground from
# this share of the strongest, those below it coloured letters, the weakest neither.
_LEAST_GROUND, _LEAST_COLOUR = 0.4, 0.12


def image_picture(document: Mapping[str, Any], width: int) -> Text:
    """The image, and the heat over it, as half blocks: two pixels a letter, one above the other.

    On a narrow terminal, of few columns of `width`, there is only the heat.
    """
    pixels = np.asarray(document["pixels"], dtype=np.uint8)
    heat = np.asarray(document["heat"], dtype=np.float64)
    painted = tinted(pixels, heat, colours_of(heat, signed=bool(document["signed"])))
    columns = min(_MOST_COLUMNS, width, *heat.shape)
    pictures = [Image.fromarray((255 * painted).round().astype(np.uint8))]
    if 2 * columns + _GAP <= width:
        pictures.insert(0, Image.fromarray(pixels).convert("RGB"))
    small = [np.asarray(one.resize((columns, columns), Image.Resampling.BOX)) for one in pictures]
    text = Text(no_wrap=True)
    for top in range(0, columns, 2):
        for number, picture in enumerate(small):
            text.append(" " * _GAP if number else "")
            upper, lower = picture[top], picture[min(top + 1, columns - 1)]
            for above, below in zip(upper, lower, strict=True):
                shades = ("#{:02x}{:02x}{:02x}".format(*pixel) for pixel in (above, below))
                text.append("▀", style=" on ".join(shades))
        text.append("\n")
    text.rstrip()
    return text


def text_picture(document: Mapping[str, Any], width: int) -> Text:  # noqa: ARG001
    """The text with its words shaded, a long one cut to what matters; rich breaks the lines."""
    values = np.asarray(document["contributions"], dtype=np.float64)
    colours = colours_of(values, signed=bool(document["signed"]))
    reach = float(np.abs(values).max()) or 1.0
    shades = colours.to_rgba(values)
    letters = colours.to_rgba(reach * np.sign(values))
    strengths = np.abs(values) / reach
    pieces = pieces_of(document["text"], document["words"])
    cut = len(values) > _MOST_WORDS
    if cut:
        pieces = shortened(pieces, np.argsort(-np.abs(values), kind="stable")[:_KEPT_WORDS])
    text = Text()
    for piece in pieces:
        text.append(" " if piece.spaced and text.plain else "")
        word, style = piece.word, ""
        if word is not None and word >= document["read"]:
            style = "dim"
        elif word is not None and strengths[word] >= _LEAST_GROUND:
            ink = "#ffffff" if ink_on(shades[word]) == "white" else "#000000"
            style = f"{ink} on {to_hex(shades[word])}"
        elif word is not None and strengths[word] >= _LEAST_COLOUR:
            style = to_hex(letters[word])
        text.append(printable(piece.letters), style=style)
    if cut:
        text.append(f"\n\n{len(values):,} words; … stands for those that matter less", "dim")
    return text
