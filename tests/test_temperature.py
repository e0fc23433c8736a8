"""A temperature against a grid of temperatures, and where the data hold no answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkv.errors import ShapeError
from qkv.evaluation.calibration import HIGHEST, LOWEST, fit_temperature


def loss(logits: Any, labels: Any, temperature: float) -> float:
    scores = np.asarray(logits, np.float64) / temperature
    logs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return float(-logs[np.arange(len(labels)), labels].mean())


def drawn(seed: int, examples: int, classes: int, scale: float) -> tuple[Any, Any]:
    """Logits whose labels follow softmax(logits), and those logits times `scale`."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.standard_normal((examples, classes))
    shares = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    labels = np.array([generator.choice(classes, p=row) for row in shares])
    return scale * logits, labels


cases = st.builds(
    drawn,
    seed=st.integers(0, 10**6),
    examples=st.integers(1, 40),
    classes=st.integers(1, 5),
    scale=st.floats(0.01, 100),
)


@settings(max_examples=200, deadline=None)
@given(cases)
def test_no_temperature_of_a_grid_is_better(case: tuple[Any, Any]) -> None:
    logits, labels = case
    fitted = fit_temperature(logits, labels)
    assert LOWEST <= fitted <= HIGHEST
    lowest = loss(logits, labels, fitted)
    assert lowest <= loss(logits, labels, 1.0) + 1e-12
    best = logits.max(axis=1) == logits[np.arange(len(labels)), labels]
    if best.all():
        assert fitted == 1.0
        return
    for temperature in np.geomspace(LOWEST, HIGHEST, 60):
        assert lowest <= loss(logits, labels, temperature) + 1e-9


@settings(max_examples=60, deadline=None)
@given(cases, st.floats(0.2, 5))
def test_scaled_logits_have_a_scaled_temperature(case: tuple[Any, Any], factor: float) -> None:
    logits, labels = case
    once, twice = fit_temperature(logits, labels), fit_temperature(factor * logits, labels)
    best = logits.max(axis=1) == logits[np.arange(len(labels)), labels]
    if best.all():
        assert once == twice == 1.0
    elif LOWEST < once < HIGHEST and LOWEST < twice < HIGHEST:
        assert twice == pytest.approx(factor * once, rel=1e-5)
    else:
        assert np.clip(factor * once, LOWEST, HIGHEST) == pytest.approx(twice, rel=1e-5) or (
            once in (LOWEST, HIGHEST)
        )


def test_a_known_temperature_is_found() -> None:
    logits, labels = drawn(0, 20_000, 3, scale=2.5)
    assert fit_temperature(logits, labels) == pytest.approx(2.5, rel=0.03)


def test_two_classes_by_hand() -> None:
    # Three of four are right with a margin of 2: confidence 3/4 has a log odds of ln 3.
    logits = np.array([[0.0, 2.0]] * 4, np.float32)
    assert fit_temperature(logits, [1, 1, 1, 0]) == pytest.approx(2 / np.log(3))


@pytest.mark.parametrize(
    ("logits", "labels", "temperature"),
    [
        ([[3.0, 0.0], [0.0, 9.0]], [0, 1], 1.0),  # no mistake: surer would always be better
        ([[3.0, 0.0]], [0], 1.0),
        ([[5.0], [2.0]], [0, 0], 1.0),  # one class
        ([[2.0, 2.0], [1.0, 1.0]], [0, 1], 1.0),  # nothing said
        ([[3.0, 0.0]], [1], HIGHEST),  # worse than a guess
        ([[3.0, 0.0], [0.0, 3.0]], [1, 0], HIGHEST),
        ([[1e-3, 0.0]] * 3, [0, 0, 1], LOWEST),  # much too modest
        ([[1e6, 0.0]] * 3, [0, 0, 1], HIGHEST),
    ],
)
def test_the_ends(logits: list[list[float]], labels: list[int], temperature: float) -> None:
    assert fit_temperature(logits, labels) == temperature


def test_arguments_are_left_as_they_are() -> None:
    logits, labels = drawn(1, 9, 3, 1.0)
    before = logits.copy()
    fit_temperature(logits, labels)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        ([[0.0, 1.0]], [2], "label 2 "),
        ([[0.0, 1.0]], [-1], "label -1 "),
        ([[0.0, 1.0]], [0.5], "labels"),
        ([[0.0, 1.0]], [0, 1], "labels"),
        ([0.0, 1.0], [0, 1], "shape"),
        (np.zeros((0, 2)), [], "shape"),
        ([[np.inf, 1.0]], [0], "finite"),
        ([[np.nan, 1.0]], [0], "finite"),
    ],
)
def test_what_does_not_fit_is_refused(logits: Any, labels: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=f"temperature: .*{words}"):
        fit_temperature(logits, labels)
