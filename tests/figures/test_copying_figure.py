from __future__ import annotations

import math

import numpy as np
import pytest
from readability import assert_readable

from qkv.figures.copying import draw_copying
from qkv.studies.copying import study_copying

BETAS = {
    "default": [1.0, 2.0, 4.0, 8.0],
    "one small": [0.05],
    "one": [3.0],
    "deep": [5.0, 30.0],
    "wide": [0.001, 1000.0],
    "deepest": [1000.0, 999.0],
    "many": [0.1 * n for n in range(1, 65)],
}


@pytest.mark.parametrize("betas", BETAS.values(), ids=BETAS.keys())
def test_every_text_can_be_read(betas: list[float]) -> None:
    assert_readable(draw_copying(study_copying(betas)))


def test_lines_and_points_are_the_law_the_closed_form_and_the_measured() -> None:
    errors, ratios = draw_copying(study_copying([2.0, 1.0])).axes
    lines = {line.get_label(): line for line in errors.lines}
    law = lines["law e^(−β²)"]
    beta = np.asarray(law.get_xdata())
    np.testing.assert_allclose(law.get_ydata(), -(beta**2) * math.log10(math.e))
    q = math.exp(-1)
    second = lines["x2, measured"]
    assert list(second.get_xdata()) == [2.0, 1.0]
    assert second.get_ydata()[1] == pytest.approx(math.log10(math.sqrt(10) * q / (1 + 2 * q)))
    measured = [line for line in ratios.lines if line.get_marker() == "o"]
    exact = math.sqrt(1 + q + 1.5 * q**2) / (1 + q + q**2)
    assert measured[0].get_ydata()[1] == pytest.approx(exact)


def test_what_float64_cannot_hold_is_marked() -> None:
    errors, ratios = draw_copying(study_copying([5.0, 30.0])).axes
    labels = [line.get_label() for line in errors.lines]
    assert "x2, not measurable" in labels
    assert [text.get_text() for text in errors.texts][-1].startswith("below: smaller than float64")
    for line in ratios.lines:
        if line.get_marker() in ("o", "s"):
            assert list(line.get_xdata()) == [5.0]


def test_far_apart_norms_get_a_logarithmic_axis() -> None:
    assert draw_copying(study_copying([1.0, 8.0])).axes[0].get_xscale() == "linear"
    assert draw_copying(study_copying([0.1, 8.0])).axes[0].get_xscale() == "log"
