from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from made_up import FASHION, HUNDRED, LONG, many_classes, some_images, some_probabilities
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from readability import assert_readable

from qkv.errors import ShapeError
from qkv.figures.predictions import draw_mistakes, draw_predictions
from qkv.figures.style import short_name


@many_classes
@pytest.mark.parametrize("channels", [1, 3])
def test_predictions_are_readable(names: Sequence[str], channels: int) -> None:
    labels = np.array([0, len(names) - 1, 1])
    shares = some_probabilities(3, len(names))
    assert_readable(draw_predictions(some_images(3, channels), labels, shares, names))


def test_predictions_are_the_figure_of_the_source() -> None:
    images, labels, shares = some_images(4), np.array([9, 2, 1, 0]), some_probabilities(4, 10)
    figure = draw_predictions(images, labels, shares, FASHION)
    pictures, charts = figure.axes[:3], figure.axes[3:]
    titles = [axes.get_title() for axes in pictures]
    assert titles == ["Truth: Ankle boot", "Truth: Pullover", "Truth: Trouser"]
    for axes, image in zip(pictures, images, strict=False):
        np.testing.assert_array_equal(axes.images[0].get_array(), image[0])
        assert axes.images[0].get_clim() == (0, 255)
    for axes, row in zip(charts, shares, strict=False):
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], row)
        assert axes.get_ylim() == (0, 1)
        assert [label.get_text() for label in axes.get_xticklabels()] == FASHION
        assert len({to_hex(bar.get_facecolor()) for bar in axes.patches}) == 10


def test_predictions_of_many_classes_keep_the_truth_in_sight() -> None:
    shares = some_probabilities(1, 100)
    truth = int(shares.argmin())
    figure = draw_predictions(some_images(1), np.array([truth]), shares, HUNDRED)
    labels = figure.axes[1].get_xticklabels()
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    np.testing.assert_allclose(heights[:-1], np.sort(shares[0])[::-1][:11])
    assert [label.get_text() for label in labels if label.get_fontweight() == "bold"] == [
        f"class number {truth}"
    ]


@pytest.mark.parametrize("names", [FASHION, LONG], ids=["ten", "forty"])
@pytest.mark.parametrize("count", [1, 6, 16])
def test_mistakes_are_readable(names: Sequence[str], count: int) -> None:
    labels = np.arange(count) % len(names)
    shares = some_probabilities(count, len(names))
    figure = draw_mistakes(some_images(count, 3, 4, 9), labels, shares, names)
    assert_readable(figure)
    captions = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    said = [short_name(names[number], 20) for number in shares.argmax(axis=1)]
    assert [caption[1] for caption in captions if caption] == [
        f"Predicted: {name}" for name in said
    ]
    assert captions[0][0] == f"Truth: {short_name(names[0], 20)}"
    assert captions[0][2] == f"{100 * shares[0].max():.1f} %"


@pytest.mark.parametrize("draw", [draw_predictions, draw_mistakes])
@pytest.mark.parametrize(
    ("images", "labels", "shares"),
    [
        (some_images(0), np.zeros(0, int), np.zeros((0, 10))),
        (some_images(2, channels=2), np.array([0, 1]), np.zeros((2, 10))),
        (some_images(2).astype(np.float32), np.array([0, 1]), np.zeros((2, 10))),
        (some_images(2), np.array([0]), np.zeros((2, 10))),
        (some_images(2), np.array([0, 10]), np.zeros((2, 10))),
        (some_images(2), np.array([0, 1]), np.zeros((2, 9))),
    ],
)
def test_images_that_do_not_fit_are_refused(
    draw: Callable[..., Figure], images: Any, labels: Any, shares: Any
) -> None:
    with pytest.raises(ShapeError, match="images"):
        draw(images, labels, shares, FASHION)
