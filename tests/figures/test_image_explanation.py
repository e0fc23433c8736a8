"""The figure of an explained image: its colours, its numbers, and that it can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_up import LONG
from made_up_explanations import NAMES, image_document, some_faithfulness
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from readability import assert_readable

from qkv.errors import ShapeError
from qkv.figures.contributions import SIGNED, colours_of, headline, share_of_one, short_number
from qkv.figures.explanation import draw_explanation, draw_image_explanation, tinted
from qkv.figures.faithfulness import faithfulness_sentence
from qkv.figures.style import INK, MUTED


def words_of(figure: Figure) -> str:
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    entries = [text.get_text() for legend in legends for text in legend.get_texts()]
    return "\n".join([*(text.get_text() for text in figure.texts), *titles, *entries])


@pytest.mark.parametrize("names", [NAMES, tuple(LONG), ("no", "yes")], ids=["8", "40", "2"])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("colour", [True, False])
def test_it_can_be_read(names: tuple[str, ...], signed: bool, colour: bool) -> None:
    document = image_document(names=names, label=names[-1], signed=signed, colour=colour)
    figure = draw_explanation(document)
    figure.draw_without_rendering()
    assert_readable(figure)


def test_it_shows_image_heat_classes_and_curves() -> None:
    document = image_document()
    figure = draw_image_explanation(document)
    image, heat, bar, classes, deletion, insertion = figure.axes
    np.testing.assert_array_equal(image.images[0].get_array(), document["pixels"])
    assert heat.images[0].get_array().shape == (12, 12, 3)
    strongest = max(map(abs, np.ravel(document["heat"])))
    low, high = sorted(bar.get_ylim())
    assert (low, high) == (pytest.approx(-strongest), pytest.approx(strongest))
    assert bar.get_title(loc="left") == "probability"
    names = [label.get_text() for label in classes.get_yticklabels()]
    by_probability = sorted(NAMES, key=lambda name: -document["probabilities"][name])
    assert names == by_probability[:6] or names == [*by_probability[:5], "Coat"]
    for axes, name in ((deletion, "deletion"), (insertion, "insertion")):
        own, chance = axes.lines
        assert list(own.get_ydata()) == document["faithfulness"]["curves"][name]
        assert list(chance.get_ydata()) == document["faithfulness"]["curves"][f"random_{name}"]
    assert "occlusion" in words_of(figure)
    for words in ("0.60 against −0.20 (random)", "this order 0.20", "random 0.60"):
        assert words in words_of(figure)


def test_the_explained_class_is_shown_even_if_it_is_improbable() -> None:
    names = tuple(f"class {number}" for number in range(20))
    probabilities = dict.fromkeys(names, 0.0) | {"class 0": 1.0}
    document = image_document(
        names=names, label="class 19", probabilities=probabilities, probability=0.0
    )
    figure = draw_image_explanation(document)
    bold = [
        label.get_text()
        for label in figure.axes[3].get_yticklabels()
        if label.get_fontweight() == "bold"
    ]
    assert bold == ["class 19"]
    assert "class 19, 0.0 %  (the answer is class 0, 100.0 %)" in words_of(figure)


@pytest.mark.parametrize("highest", [1.0, 0.15, 0.03, 0.0004, 0.0])
def test_curves_near_zero_can_be_told_apart(highest: float) -> None:
    low = some_faithfulness(0.2 * highest, 0.6 * highest, highest, 0.4 * highest)
    figure = draw_image_explanation(image_document(faithfulness=low))
    tops = {axes.get_ylim() for axes in figure.axes[-2:]}
    ((bottom, top),) = tops
    assert bottom == 0
    assert highest <= top <= max(10 * highest, 0.0002)
    figure.draw_without_rendering()
    assert_readable(figure)


def test_a_map_that_is_no_better_than_chance_is_not_to_be_believed() -> None:
    worse = some_faithfulness(own=0.7, chance=0.6, back=0.9)
    figure = draw_image_explanation(image_document(faithfulness=worse))
    warning = [text for text in figure.texts if text.get_color() not in (INK, MUTED)]
    assert {text.get_fontweight() for text in warning} == {"bold"}
    said = " ".join(text.get_text() for text in warning)
    assert said.startswith("Do not believe the map")
    assert "0.70 against 0.60" in said
    figure.draw_without_rendering()
    assert_readable(figure)


@pytest.mark.parametrize(
    ("areas", "words"),
    [
        ((0.2, 0.6, 0.8, 0.4), "lowers the probability sooner than at random: 0.60 against −0.20"),
        ((0.5, 0.6, 0.2, 0.4), "believe the map with care"),
        ((0.6, 0.6, 0.9, 0.4), "do not believe the map"),
        ((0.6, 0.60004, 0.60011, 0.6), "0.0001 against 0.0000 (random)"),
    ],
)
def test_the_sentence_follows_the_numbers(areas: Any, words: str) -> None:
    assert words in faithfulness_sentence(some_faithfulness(*areas).document())


def test_no_heat_leaves_the_picture_grey_and_much_colours_it() -> None:
    pixels = np.array([[255, 255], [0, 0]], dtype=np.uint8)
    heat = np.array([[0.0, 1.0], [0.0, -1.0]])
    painted = tinted(pixels, heat, colours_of(heat, signed=True))
    np.testing.assert_allclose(painted[0, 0], 1, atol=0.01)  # the map's middle is not quite white
    np.testing.assert_allclose(painted[0, 1], to_rgb(SIGNED(1.0)))
    assert painted[1, 0].max() < 0.8  # dark stays darker
    assert np.ptp(painted[1, 0]) < 0.01
    assert painted[0, 1, 2] > painted[0, 1, 0]  # blue speaks for
    assert painted[1, 1, 0] > painted[1, 1, 2]  # orange speaks against


def test_white_is_nothing_unless_that_would_hide_all_differences() -> None:
    assert colours_of([0.1, 1.0], signed=False).get_clim() == (0.0, 1.0)
    assert colours_of([0.9, 1.0], signed=False).get_clim() == (0.9, 1.0)
    assert colours_of([-0.2, 0.1], signed=True).get_clim() == (-0.2, 0.2)


@pytest.mark.parametrize("value", [0.0, 3.5])
@pytest.mark.parametrize("signed", [True, False])
def test_equal_contributions_can_be_drawn(value: float, signed: bool) -> None:
    heat = np.full((12, 12), value).tolist()
    draw_image_explanation(image_document(signed=signed, heat=heat)).draw_without_rendering()


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"pixels of shape \(12, 12\) and heat of shape \(3, 3\)"):
        draw_image_explanation(image_document(heat=np.zeros((3, 3)).tolist()))
    with pytest.raises(ShapeError, match="not all finite"):
        draw_image_explanation(image_document(heat=np.full((12, 12), np.nan).tolist()))


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.1234, True, "+0.12"), (-0.00012, True, "−0.00012"), (0.0, True, "0"), (2.0, False, "2")],
)
def test_numbers_have_two_figures(value: float, signed: bool, text: str) -> None:
    assert short_number(value, signed=signed) == text


def test_no_probability_is_called_0_or_1_that_is_not() -> None:
    assert [share_of_one(share) for share in (0.0, 1e-9, 0.5, 1 - 1e-9, 1.0)] == [
        "0.0 %", "< 0.1 %", "50.0 %", "> 99.9 %", "100.0 %",
    ]  # fmt: skip


def test_the_headline_names_the_answer_if_that_is_another_class() -> None:
    shares = {"a": 0.25, "b": 0.75}
    own = {"label": "b", "probability": 0.75, "probabilities": shares}
    assert headline(own) == "b, 75.0 %"
    assert headline({**own, "label": "a", "probability": 0.25}) == (
        "a, 25.0 %  (the answer is b, 75.0 %)"
    )
