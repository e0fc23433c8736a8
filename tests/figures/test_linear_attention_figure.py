"""Costs against length, from made-up power laws."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Annotation, Text
from readability import assert_readable

from qkv.figures.linear_attention import _spread, draw_linear_attention
from qkv.figures.style import save_figure

DOUBLING = [64 * 2**power for power in range(9)]
# Factor and power of milliseconds and of bytes.
LAWS = {
    "plain": (1e-5, 2, 8, 2),
    "fused": (2e-6, 2, 2**20, 0),
    "linear": (2e-4, 1, 200, 0.5),
    "causal_linear": (4e-4, 1, 600, 0.9),
}
CROSSED = [
    {"against": "plain", "tokens": 176, "slower_at": 160, "refined": True, "ratios": []},
    {"against": "fused", "tokens": 208, "slower_at": 192, "refined": True, "ratios": []},
]


def made_up(lengths: list[int], *, crossings: Any = (), skip_from: int = 2**40) -> dict[str, Any]:
    measurements, exponents = [], []
    for kernel, (milliseconds, power, size, growth) in LAWS.items():
        for factor, work in ((1, "forward"), (2.5, "train")):
            for tokens in lengths:
                skipped = kernel == "plain" and tokens >= skip_from
                measurements.append(
                    {
                        "kernel": kernel,
                        "work": work,
                        "tokens": tokens,
                        "milliseconds": None if skipped else factor * milliseconds * tokens**power,
                        "extra_bytes": None if skipped else round(factor * size * tokens**growth),
                    }
                )
            fit = {"exponent": power, "from_tokens": 1024}
            memory = {"exponent": growth, "from_tokens": 1024}
            exponents.append(
                {
                    "kernel": kernel,
                    "work": work,
                    "time": fit if len(lengths) > 2 else None,
                    "memory": memory if len(lengths) > 2 else None,
                }
            )
    return {
        "settings": {"lengths": lengths, "head_dim": 64},
        "machine": {"threads": 2},
        "measurements": measurements,
        "exponents": exponents,
        "crossings": list(crossings),
    }


def annotations(figure: Any) -> list[Annotation]:
    return [text for axes in figure.axes for text in axes.texts if isinstance(text, Annotation)]


@pytest.mark.parametrize(
    "document",
    [
        made_up(DOUBLING, crossings=CROSSED),
        made_up(DOUBLING, crossings=[{**one, "tokens": 9000} for one in CROSSED]),
        made_up(DOUBLING, crossings=[{**one, "tokens": 1024} for one in CROSSED]),
        made_up(DOUBLING, skip_from=2048),
        made_up([64, 100, 1000]),
        made_up([50]),
        made_up([16 * 2**power for power in range(20)], crossings=CROSSED),
    ],
    ids=["usual", "late", "middle", "skipped", "list", "one", "twenty"],
)
def test_it_can_be_read(document, tmp_path):
    figure = draw_linear_attention(document)
    assert_readable(figure)
    # Of the words alone: the extent of an annotation has its arrow, too.
    boxes = [Text.get_window_extent(text) for text in annotations(figure)]
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    for box in boxes:
        assert box.x0 > 0
        assert box.x1 < figure.bbox.width + 1
        assert 0 < box.y0 < box.y1 < figure.bbox.height
    assert [path.suffix for path in save_figure(figure, tmp_path, "costs")] == [".png", ".svg"]


def test_every_curve_is_drawn_and_named_with_its_exponent():
    figure = draw_linear_attention(made_up(DOUBLING, crossings=CROSSED))
    time, memory = figure.axes
    names = [text.get_text() for text in time.texts]
    assert "plain softmax, + backward: T^2.00" in names
    assert "linear: T^1.00" in names
    assert "linear overtakes plain at T = 176" in names
    assert "linear overtakes fused at T = 208" in names
    assert "causal linear: T^0.90" in [text.get_text() for text in memory.texts]
    curves = [line for line in time.lines if len(line.get_xdata()) == len(DOUBLING)]
    assert len(curves) == 2 * len(LAWS)
    np.testing.assert_array_equal(curves[0].get_xdata(), DOUBLING)
    expected = [1e-5 * tokens**2 for tokens in DOUBLING]
    np.testing.assert_allclose(curves[0].get_ydata(), expected)


def test_a_crossing_that_was_not_seen_is_not_drawn():
    unseen = [{**CROSSED[0], "tokens": None}, {**CROSSED[1], "slower_at": None}]
    figure = draw_linear_attention(made_up(DOUBLING, crossings=unseen))
    assert not [text for text in annotations(figure) if "overtakes" in text.get_text()]


def test_what_was_skipped_ends_its_curve():
    figure = draw_linear_attention(made_up(DOUBLING, skip_from=2048))
    ends = {max(line.get_xdata()) for line in figure.axes[0].lines}
    assert ends == {1024, DOUBLING[-1]}
    names = [text.get_text() for text in figure.axes[0].texts]
    assert "plain softmax: T^2.00 (to 1,024)" in names
    assert "linear: T^1.00" in names


def test_no_cost_at_all_is_said():
    document = made_up([64])
    for measurement in document["measurements"]:
        measurement["extra_bytes"] = 0
    figure = draw_linear_attention(document)
    assert [text.get_text() for text in figure.axes[1].texts] == ["nothing measured"]


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.01, 0.2))
def test_labels_are_apart_and_as_near_as_can_be(heights, gap):
    ordered = sorted(heights)
    placed = _spread(ordered, gap)
    assert all(above - below >= gap - 1e-9 for below, above in itertools.pairwise(placed))
    assert np.sum(placed) == pytest.approx(np.sum(ordered))
    if all(above - below >= gap for below, above in itertools.pairwise(ordered)):
        assert placed == pytest.approx(ordered)
