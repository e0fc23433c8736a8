"""The figure of the study "quality": its numbers, its labels, and that they can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from readability import assert_readable, text_box

from qkv.figures.accuracy import draw_accuracy


def some_accuracy(seeds: int = 1, sizes: tuple[int, ...] = (4, 2)) -> dict[str, Any]:
    generator = np.random.default_rng(4)
    arms, pairs = [], []
    for number, size in enumerate(sizes):
        tokens = (28 // size) ** 2 + 1
        for kernel, centre, seconds in (
            ("softmax", 0.885, 65.31 * 6.5**number),
            ("linear", 0.871, 76.4 * 2.9**number),
        ):
            accuracies = list(centre + 0.004 * generator.standard_normal(seeds) + 0.01 * number)
            mean = float(np.mean(accuracies))
            arms.append(
                {
                    "kernel": kernel,
                    "patch_size": size,
                    "tokens": tokens,
                    "test_accuracy": mean,
                    "interval_95": [mean - 0.0065, mean + 0.0062],
                    "test_accuracies": accuracies,
                    "seconds_per_epoch": seconds,
                }
            )
        difference = arms[-1]["test_accuracy"] - arms[-2]["test_accuracy"]
        pairs.append(
            {
                "patch_size": size,
                "tokens": tokens,
                "accuracy_difference": difference,
                "interval_95": [difference - 0.004, difference + 0.004],
                "epoch_time_ratio": arms[-1]["seconds_per_epoch"] / arms[-2]["seconds_per_epoch"],
            }
        )
    settings = {"train_images": 57_000, "epochs": 2, "seeds": list(range(42, 42 + seeds))}
    return {"study": "quality", "settings": settings, "arms": arms, "pairs": pairs}


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("sizes", [(4,), (4, 2), (14, 7, 4, 2)])
def test_quality_can_be_read(seeds: int, sizes: tuple[int, ...]) -> None:
    figure = draw_accuracy(some_accuracy(seeds, sizes))
    assert_readable(figure)
    for axes in figure.axes:
        labels = axes.texts
        assert len(labels) == 2 * len(sizes)
        boxes = [text.get_window_extent() for text in labels]
        for number, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:number]), labels[number]
            assert box.y1 < text_box(axes.title)[0][1]


def test_quality_shows_its_numbers() -> None:
    document = some_accuracy(3)
    accuracy, time = draw_accuracy(document).axes
    shares = [100 * arm["test_accuracy"] for arm in document["arms"]]
    assert [text.get_text() for text in accuracy.texts] == [f"{value:.2f} %" for value in shares]
    points = [bars.lines[0].get_ydata() for bars in accuracy.containers]
    np.testing.assert_allclose(np.ravel(points).astype(float), shares)
    seeds = [line.get_ydata() for line in accuracy.lines if line.get_marker() == "_"]
    seeds = [values for values in seeds if len(values) == 3]  # the others are caps of intervals
    np.testing.assert_allclose(
        seeds, [100 * np.array(arm["test_accuracies"]) for arm in document["arms"]]
    )
    heights = [bar.get_height() for bar in time.patches]
    assert heights == [arm["seconds_per_epoch"] for arm in document["arms"]]
    assert time.get_ylim()[0] == 0  # bars would lie from anywhere else
    below = [tick.get_text() for tick in time.get_xticklabels()]
    assert below[0] == "50 tokens\n(patch 4)\nlinear: 1.17 × the time"
    below = [tick.get_text() for tick in accuracy.get_xticklabels()]
    low, high = (100 * end for end in document["pairs"][1]["interval_95"])
    assert f"95 % {low:+.2f} to {high:+.2f}".replace("-", "−") in below[1]


def test_one_seed_shows_no_spread() -> None:
    one, three = (draw_accuracy(some_accuracy(seeds)) for seeds in (1, 3))
    words = [[text.get_text() for text in f.legends[0].get_texts()] for f in (one, three)]
    assert words[0] == ["softmax attention", "linear attention"]
    assert words[1] == [*words[0], "one seed"]
