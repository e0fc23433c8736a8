"""The figure of accuracy by length: its numbers, and that it can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from readability import assert_readable

from qkv.evaluation.metrics import accuracy_by_length
from qkv.figures.evaluation import draw_accuracy_by_length


def some_lengths(texts: int, bins: int, wrong: float = 0.1, longest: float = 7.0) -> dict[str, Any]:
    generator = np.random.default_rng(5)
    lengths = np.exp(generator.uniform(2.0, longest, texts)).astype(np.int64)
    labels = generator.integers(0, 2, texts)
    return accuracy_by_length(lengths, labels, labels ^ (generator.random(texts) < wrong), bins)


@pytest.mark.parametrize("wrong", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    ("texts", "bins", "longest"), [(1, 10, 7.0), (30, 3, 7.0), (25_000, 10, 8.5), (600, 20, 13.0)]
)
def test_it_can_be_read(texts: int, bins: int, longest: float, wrong: float) -> None:
    figure = draw_accuracy_by_length(some_lengths(texts, bins, wrong, longest))
    assert_readable(figure)
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    (points,) = (line for line in axes.lines if line.get_marker() == "o")
    shares = np.asarray(points.get_ydata(), float)
    # The whole marker is inside, at 0 and at 100 % too.
    assert ((shares > low) | (low == 0)).all()
    assert (shares < high).all()
    assert max(axes.get_yticks()) <= 1


def test_it_shows_its_numbers() -> None:
    document = some_lengths(500, 5)
    figure = draw_accuracy_by_length(document)
    (axes,) = figure.axes
    (container,) = axes.containers
    points, _, bars = container.lines
    bins = document["bins"]
    np.testing.assert_allclose(
        np.asarray(points.get_ydata(), float), [entry["accuracy"] for entry in bins]
    )
    ends = [(segment[0, 1], segment[1, 1]) for segment in bars[0].get_segments()]
    np.testing.assert_allclose(ends, [entry["accuracy_interval_95"] for entry in bins])
    first = axes.get_xticklabels()[0].get_text()
    assert first == f"{bins[0]['shortest']} – {bins[0]['longest']}\n({bins[0]['count']})"
    overall = axes.lines[0]
    assert set(overall.get_ydata()) == {document["accuracy"]}
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert f"all texts {100 * document['accuracy']:.1f} %" in words


def test_one_length_is_named_once() -> None:
    labels = np.array([0, 1, 1])
    document = accuracy_by_length(np.full(3, 1234), labels, labels)
    axes = draw_accuracy_by_length(document).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1,234\n(3)"]
