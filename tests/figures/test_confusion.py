from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from made_up import many_classes
from readability import assert_readable

from qkv.errors import ShapeError
from qkv.figures.evaluation import draw_confusion


@many_classes
def test_confusion_is_readable(names: Sequence[str]) -> None:
    counts = np.random.default_rng(0).integers(0, 30, (len(names), len(names)))
    figure = draw_confusion(counts, names)
    assert_readable(figure)
    numbers = figure.axes[0].texts
    assert len(numbers) == (len(names) ** 2 if len(names) <= 40 else 0)
    if numbers:
        assert numbers[1].get_text() == str(counts[0, 1])
        cell = figure.axes[0].get_window_extent().width / len(names)
        assert max(text.get_window_extent().width for text in numbers) < cell


def test_confusion_colours_are_shares_of_the_true_class() -> None:
    image = draw_confusion([[3, 1], [0, 0]], ["a", "b"]).axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), [[0.75, 0.25], [0.0, 0.0]])


def test_confusion_refuses_another_number_of_names() -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 2\) for 3 classes"):
        draw_confusion([[1, 0], [0, 1]], ["a", "b", "c"])
