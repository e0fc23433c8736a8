"""The figure of an explained text: flowing words, shades, cuts, and letters of every kind."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_explanations import some_faithfulness, text_document
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from readability import assert_readable

from qkv.errors import ShapeError
from qkv.figures.explanation import draw_explanation, draw_text_explanation
from qkv.figures.style import save_figure
from qkv.figures.text_layout import (
    ELLIPSIS,
    Piece,
    lay_out,
    lay_out_what_matters,
    pieces_of,
    shortened,
)

SENTENCE = "This film was not as good as it began, (but) the acting is superb!"
VOCABULARY = SENTENCE.split()
ODD = (
    *("很好看" * 300, "🙂🤌🏽\u200d great", "x" * 3000, "שלום עולם " * 30, "a<br /><br />b"),
    *("\ud800 lone \x00", "WWWW " * 400, "$x_1^2$ \\frac{}", "one", "a\n\n\tb\u00a0c"),
)


def some_text(words: int) -> str:
    return " ".join(np.random.default_rng(0).choice(VOCABULARY, words))


def written(figure: Figure) -> str:
    """All that stands on the page of words."""
    return " ".join(text.get_text() for text in figure.axes[0].texts)


def notes(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("words", [1, 30, 500, 3000])
@pytest.mark.parametrize("signed", [True, False])
def test_it_can_be_read(words: int, signed: bool) -> None:
    figure = draw_explanation(text_document(some_text(words), signed=signed, read=min(words, 700)))
    figure.draw_without_rendering()
    assert_readable(figure)
    page = figure.axes[0].get_window_extent()
    right = 0.0
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x1 < page.x1 + 2, text.get_text()
        assert box.y0 > page.y0 - 3, text.get_text()
        assert box.y1 < page.y1 + 3, text.get_text()
        right = max(right, box.x1)
    if words > 100:
        assert right > page.x0 + 0.9 * page.width


def test_areas_that_hardly_differ_still_fit() -> None:
    close = some_faithfulness(0.59998, 0.60002, 0.60004, 0.6)
    figure = draw_text_explanation(text_document(SENTENCE, faithfulness=close))
    figure.draw_without_rendering()
    assert_readable(figure)
    words = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert words == ["area: this order 0.6000", "random 0.6000"]


def test_words_do_not_run_into_each_other() -> None:
    figure = draw_text_explanation(text_document(some_text(120)))
    lines: dict[float, list[tuple[float, float]]] = {}
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        lines.setdefault(text.get_position()[1], []).append((box.x0, box.x1))
    assert len(lines) > 3
    for spans in lines.values():
        ordered = sorted(spans)
        for (_, end), (start, _) in itertools.pairwise(ordered):
            assert start > end - 2.5  # pixels: letters without a space between them may touch


def test_500_words_are_all_there_and_take_no_time() -> None:
    text = some_text(500)
    started = time.perf_counter()
    figure = draw_text_explanation(text_document(text))
    assert time.perf_counter() - started < 20
    assert written(figure).replace(" ", "") == text.replace(" ", "")
    assert ELLIPSIS not in notes(figure)


def test_words_for_are_blue_and_words_against_are_orange() -> None:
    figure = draw_text_explanation(text_document(SENTENCE, strong={"superb": 0.4, "not": -0.3}))
    page = figure.axes[0]
    boxes = [patch for patch in page.patches if isinstance(patch, FancyBboxPatch)]
    shades = {
        text.get_text(): to_rgb(
            next(box for box in boxes if abs(box.get_x() - text.get_position()[0]) < 0.05
                 and abs(box.get_y() - text.get_position()[1]) < 0.3).get_facecolor()[:3]
        )
        for text in page.texts
    }  # fmt: skip
    assert shades["superb"] == pytest.approx(to_rgb("#0072B2"), abs=0.01)
    red, green, blue = shades["not"]
    assert red > green > blue
    assert red > blue + 0.2
    assert min(shades["film"]) > 0.9
    ends = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert ends == ["−0.4 against", "0", "+0.4 for"]


def test_a_long_text_is_cut_to_its_strongest_words() -> None:
    text = f"{some_text(2500)} dreadful {some_text(2500)} glorious {some_text(100)}"
    figure = draw_text_explanation(text_document(text, strong={"dreadful": -1, "glorious": 0.9}))
    shown = written(figure)
    assert "dreadful" in shown
    assert "glorious" in shown
    assert shown.count(ELLIPSIS) >= 3
    (note,) = re.findall(r"([\d,]+) of ([\d,]+) words, those around the strongest", notes(figure))
    kept, of = (int(number.replace(",", "")) for number in note)
    assert 300 < kept < of
    assert of == len(text_document(text)["words"])


def test_what_the_model_did_not_read_is_grey_and_said() -> None:
    values = [0.01, 0.01, 1.0, 0.0, 0.0]
    figure = draw_text_explanation(
        text_document("one two three four five", read=3, contributions=values)
    )
    colours = [text.get_color() for text in figure.axes[0].texts]
    assert colours[:3] == ["#222222", "#222222", "white"]  # the strongest on deep blue
    assert colours[3:] == ["#767676"] * 2
    assert "The model read the first 3 of 5 words." in notes(figure)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_any_text_can_be_drawn(text: str, tmp_path: Path) -> None:
    figure = draw_text_explanation(text_document(text))
    for path in save_figure(figure, tmp_path, "odd"):
        assert path.stat().st_size > 1000


def test_a_shading_that_is_no_better_than_chance_is_not_to_be_believed() -> None:
    worse = some_faithfulness(own=0.7, chance=0.6)
    figure = draw_text_explanation(text_document(SENTENCE, faithfulness=worse))
    assert "Do not believe the shading" in notes(figure)


def test_words_and_contributions_must_be_as_many() -> None:
    with pytest.raises(ShapeError, match="14 words and 2 contributions|words and 2"):
        draw_text_explanation(text_document(SENTENCE, contributions=[1.0, 2.0]))
    with pytest.raises(ShapeError, match="0 contributions"):
        draw_text_explanation(text_document(" "))


def by_letters(letters: str) -> float:
    return 0.1 * len(letters)


def pieces(text: str) -> list[Piece]:
    return pieces_of(text, text_document(text)["words"])


def test_pieces_know_what_stands_before_them() -> None:
    text = " (well, so be) it"
    words = [{"start": 2, "end": 6}, {"start": 8, "end": 10}, {"start": 15, "end": 17}]
    assert pieces_of(text, words) == [
        Piece("(", None, True),
        Piece("well", 0, False),
        Piece(",", None, False),
        Piece("so", 1, True),
        Piece("be)", None, True),
        Piece("it", 2, True),
    ]


@given(st.text(max_size=60), st.floats(0.3, 3.0))
@settings(max_examples=150)
def test_nothing_is_lost_and_no_line_is_too_long(text: str, width: float) -> None:
    placed = lay_out(pieces(text), width, by_letters)
    assert "".join(one.letters for one in placed) == "".join(text.split())
    end: dict[int, float] = {}
    for one in placed:
        assert one.left + one.width <= width + 1e-9
        assert one.left >= end.get(one.line, 0.0) - 1e-9
        end[one.line] = one.left + one.width
    assert [one.line for one in placed] == sorted(one.line for one in placed)
    assert set(end) == set(range(len(end)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80), st.integers(1, 4))
@settings(max_examples=60)
def test_a_cut_keeps_the_strongest_word_and_its_lines(weights: list[float], lines: int) -> None:
    text = " ".join(f"w{number}" for number in range(len(weights)))
    placed = lay_out_what_matters(pieces(text), weights, 6.0, by_letters, lines)
    assert placed[-1].line < lines
    assert int(np.argmax(weights)) in {one.word for one in placed}


def test_each_gap_is_one_ellipsis() -> None:
    text = " ".join(f"w{number}" for number in range(40))
    kept = shortened(pieces(text), np.array([20, 0]))
    assert [piece.letters for piece in kept] == [
        *(f"w{number}" for number in range(6)),
        ELLIPSIS,
        *(f"w{number}" for number in range(15, 26)),
        ELLIPSIS,
    ]
