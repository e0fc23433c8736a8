"""The figure of mistaken texts: what it says, how it shortens, and letters that no font has."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import LONG
from matplotlib.figure import Figure
from readability import assert_readable

from qkv.errors import ShapeError
from qkv.figures.style import save_figure
from qkv.figures.text_layout import draw_text_mistakes

NAMES = ["neg", "pos"]
WORDS = [
    "the",
    "film",
    "was",
    "not",
    "as",
    "good",
    "as",
    "it",
    "began,",
    "and",
    "I",
    "left",
    "early",
]
ODD = (
    *("很好看" * 300, "🙂🤌🏽\u200d great", "x" * 5000, "", " \n\t", "שלום עולם " * 30),
    *("\ud800 lone \x00", "WWWW " * 900, "$x_1^2$ \\frac{}", "one"),
)


def mistake(text: str, label: str = "neg", predicted: str = "pos", sure: float = 0.9) -> Any:
    return {"text": text, "label": label, "predicted": predicted, "probability": sure}


def some_text(words: int, seed: int = 0) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


def lines_of(figure: Figure) -> list[str]:
    """Everything that is written, top to bottom and left to right, without the title."""
    texts = sorted(figure.texts, key=lambda text: (-text.get_position()[1], text.get_position()[0]))
    return [text.get_text() for text in texts if text.get_text() != "Most confident mistakes"]


@pytest.mark.parametrize("count", [1, 2, 5, 8, 16])
@pytest.mark.parametrize("names", [NAMES, LONG], ids=["two", "forty"])
def test_it_can_be_read(count: int, names: list[str]) -> None:
    mistakes = [
        mistake(some_text(20 + 70 * i, i), names[i % len(names)], names[(i + 1) % len(names)])
        for i in range(count)
    ]
    figure = draw_text_mistakes(mistakes, names)
    assert_readable(figure)
    assert sum(line.startswith("Truth: ") for line in lines_of(figure)) == min(count, 8)


def test_it_says_truth_prediction_and_probability() -> None:
    mistakes = [mistake("Fine\nwords.", sure=0.99996), mistake("Bad.", "pos", "neg", 0.731)]
    written = lines_of(draw_text_mistakes(mistakes, NAMES))
    assert written == [
        *("Truth: neg", "Predicted: pos, > 99.9 %", "Truth: pos", "Predicted: neg, 73.1 %"),
        *("Fine words.", "Bad."),
    ]


def test_a_long_text_shows_its_beginning_and_end() -> None:
    text = f"It begins here {some_text(800)} and ends there."
    written = lines_of(draw_text_mistakes([mistake(text)], NAMES))[2:]
    assert 5 <= len(written) <= 7
    assert written[0].startswith("It begins here ")
    assert written[-1].endswith(" and ends there.")
    head, tail = " ".join(written).split(" … ")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert text[len(head)] == " "  # no word is cut
    assert text[-len(tail) - 1] == " "


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_drawn_without_a_warning(text: str, tmp_path: Path) -> None:
    names = ["很好", "🙂" * 40]
    figure = draw_text_mistakes([mistake(text, *names)], names)
    assert_readable(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(tmp_path / "outside the house style.png")
    save_figure(figure, tmp_path, "inside")


def test_letters_without_a_font_are_boxes() -> None:
    written = lines_of(draw_text_mistakes([mistake("ab \U00010600\U00010601 cé")], NAMES))
    assert written[2:] == ["ab ▯▯ cé"]
    assert lines_of(draw_text_mistakes([mistake(" \n")], NAMES))[2:] == ["(no visible letter)"]


def test_wrong_mistakes_are_refused() -> None:
    with pytest.raises(ShapeError, match="no mistake"):
        draw_text_mistakes([], NAMES)
    with pytest.raises(ShapeError, match="predicted 'good', which is no class; use the names neg"):
        draw_text_mistakes([mistake("x", predicted="good")], NAMES)
