"""An explanation in the terminal, and the measured faithfulness of methods as a table."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console

from qkv.cli.console import draws, printable, results_console
from qkv.cli.tables import print_table
from qkv.cli.wording import counted, duration, percent

STRONGEST = 6


def print_explanation(document: Mapping[str, Any]) -> None:
    """Print the answer, what speaks for it, and whether to believe that.

    A terminal with colours shows the image or the text itself; elsewhere there are lists only.

    Args:
        document: `Explanation.document()`.
    """
    from qkv.figures.contributions import method_name
    from qkv.figures.faithfulness import faithfulness_sentence

    console = results_console()
    probabilities, label = document["probabilities"], document["label"]
    answer = max(probabilities, key=probabilities.__getitem__)
    lines = {"answer": f"{answer}  {percent(probabilities[answer])}"}
    if answer != label:
        lines["explained"] = f"{label}  {percent(document['probability'])}"
    took = (
        f"{document['seconds']:.2f} s" if document["seconds"] < 1 else duration(document["seconds"])
    )
    lines["method"] = f"{method_name(document['method'])}, {took}"
    if document["completeness_gap"] is not None:
        lines["gap"] = f"{document['completeness_gap']:+.2g} {document['unit']} from complete"
    if document["coarsened"] is not None:
        lines["coarsened"] = document["coarsened"]
    lines["faithfulness"] = faithfulness_sentence(document["faithfulness"], "this explanation")
    for name, text in lines.items():
        console.print(f"{name:<14}{printable(text)}", soft_wrap=True)
    if draws(sys.stdout) and console.color_system is not None:
        from qkv.cli.explanation_pictures import image_picture, text_picture

        picture = image_picture if document["task"] == "vision" else text_picture
        console.print()
        console.print(picture(document, console.width))
    _print_strongest(console, document)


def print_explanation_scores(document: Mapping[str, Any]) -> None:
    """Print a row a method, the most faithful first.

    Args:
        document: of `qkv.inspection.evaluate_explanations`.
    """
    console = results_console()
    default = document["default_method"]
    methods = sorted(document["methods"].items(), key=lambda item: -item[1]["score"])
    print_table(
        console,
        f"Explanations of {counted(document['examples'], document['example'])}",
        (
            "method", "faithfulness", "random", "deletion beats random", "95 % interval",
            "median time",
        ),
        (
            [
                f"{name} (default)" if name == default else name,
                f"{scores['score']:.3f}",
                f"{scores['random_score']:.3f}",
                percent(scores["beats_random"]),
                " to ".join(map(percent, scores["beats_random_interval_95"])),
                _seconds(scores["median_seconds"]),
            ]
            for name, scores in methods
        ),
    )  # fmt: skip


def _print_strongest(console: Console, document: Mapping[str, Any]) -> None:
    from qkv.figures.contributions import short_number

    values = np.asarray(document["contributions"], dtype=np.float64)
    signed = bool(document["signed"])
    part = "patch" if document["task"] == "vision" else "word"
    plural = "patches" if part == "patch" else "words"
    order = np.argsort(-values, kind="stable")
    sides = [order[values[order] > 0][:STRONGEST]]
    heads = [part, document["unit"]]
    if signed:
        against = order[::-1]
        sides.append(against[values[against] < 0][:STRONGEST])
        heads = ["for", document["unit"], "against", document["unit"]]
    rows = []
    for number in range(max(map(len, sides))):
        row = []
        for side in sides:
            known = number < len(side)
            row += [
                part_name(document, int(side[number])) if known else "",
                short_number(float(values[side[number]]), signed=signed) if known else "",
            ]
        rows.append(row)
    print_table(console, f"Strongest {plural}", heads, rows)


def part_name(document: Mapping[str, Any], part: int) -> str:
    """A word, or the place of a patch counted from 1."""
    if document["task"] == "text":
        word: str = document["words"][part]["text"]
        return word
    row, column = divmod(part, document["grid_size"])
    return f"row {row + 1}, column {column + 1}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 1 else duration(value)
