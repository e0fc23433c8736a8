from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import brier_score_loss

from qkv.errors import ShapeError
from qkv.evaluation.calibration import (
    brier_score,
    calibration_document,
    expected_calibration_error,
    reliability_bins,
)

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@st.composite
def distributions(draw: st.DrawFn) -> tuple[Float64, Int64]:
    examples, classes = draw(st.integers(1, 17)), draw(st.integers(1, 5))
    weights = draw(
        hnp.arrays(np.float64, (examples, classes), elements=st.sampled_from([0.0, 0.3, 1.0, 7.0]))
    )
    weights[:, 0] += 1e-3
    labels = draw(hnp.arrays(np.int64, examples, elements=st.integers(0, classes - 1)))
    return weights / weights.sum(axis=1, keepdims=True), labels


def plain_error(probabilities: Float64, labels: Int64, bins: int) -> float:
    """The formula, one bin and one example at a time."""
    total = 0.0
    for number in range(bins):
        inside = [
            (max(row), float(np.argmax(row) == label))
            for row, label in zip(probabilities, labels, strict=True)
            if number / bins < max(row) <= (number + 1) / bins
        ]
        if inside:
            confidence, accuracy = np.mean(inside, axis=0)
            total += len(inside) / len(labels) * abs(confidence - accuracy)
    return total


def test_error_by_hand() -> None:
    # Two bins. (0, 0.5]: one example of confidence 0.5, right: gap 0.5.
    # (0.5, 1]: confidences 0.9, 0.8, 0.7, two of three right: gap 0.8 − 2/3.
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    labels = np.array([0, 0, 1, 0])
    expected = 0.25 * 0.5 + 0.75 * (0.8 - 2 / 3)
    assert expected_calibration_error(probabilities, labels, bins=2) == pytest.approx(expected)
    assert reliability_bins(probabilities, labels, bins=2) == [
        {"lower": 0.0, "upper": 0.5, "count": 1, "confidence": 0.5, "accuracy": 1.0},
        {
            "lower": 0.5,
            "upper": 1.0,
            "count": 3,
            "confidence": pytest.approx(0.8),
            "accuracy": pytest.approx(2 / 3),
        },
    ]


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_error_agrees_with_a_plain_loop(bins: int) -> None:
    generator = np.random.default_rng(3)
    probabilities = generator.dirichlet(np.full(6, 0.4), 307)
    labels = generator.integers(0, 6, 307)
    ours = expected_calibration_error(probabilities, labels, bins)
    assert ours == pytest.approx(plain_error(probabilities, labels, bins), rel=1e-12)
    assert ours > 0.1


def test_brier_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(4)
    positive, labels = generator.random(101), generator.integers(0, 2, 101)
    ours = brier_score(np.stack([1 - positive, positive], axis=1), labels)
    assert ours == pytest.approx(2 * brier_score_loss(labels, positive))


def test_brier_by_hand() -> None:
    # Row one: (0.5−1)² + 0.3² + 0.2²; row two, certain and wrong: 1 + 1.
    probabilities = np.array([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]])
    assert brier_score(probabilities, np.array([0, 2])) == pytest.approx((0.38 + 2.0) / 2)


def test_uniform_guesses_of_one_class_in_four() -> None:
    probabilities, labels = np.full((4, 4), 0.25), np.arange(4)
    document = calibration_document(probabilities, labels)
    assert document["expected_calibration_error"] == 0.0
    assert document["brier"] == 0.75
    [filled] = [entry for entry in document["bins"] if entry["count"]]
    assert filled["lower"] < 0.25 <= filled["upper"]
    assert [entry["accuracy"] for entry in document["bins"] if not entry["count"]] == [None] * 14


@given(distributions(), st.integers(1, 20))
def test_document_is_bounded_whole_and_plain(case: tuple[Float64, Int64], bins: int) -> None:
    probabilities, labels = case
    document = calibration_document(probabilities, labels, bins)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert 0.0 <= document["expected_calibration_error"] <= 1.0
    assert 0.0 <= document["brier"] <= 2.0
    table = document["bins"]
    assert len(table) == bins
    assert (table[0]["lower"], table[-1]["upper"]) == (0.0, 1.0)
    assert sum(entry["count"] for entry in table) == len(labels)
    for entry in table:
        if entry["count"]:
            assert entry["lower"] - 1e-9 < entry["confidence"] <= entry["upper"] + 1e-9
            assert 0.0 <= entry["accuracy"] <= 1.0
        else:
            assert entry["confidence"] is entry["accuracy"] is None


@given(distributions(), st.randoms(use_true_random=False))
def test_order_of_examples_does_not_matter(case: tuple[Float64, Int64], random: Any) -> None:
    probabilities, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    for measure in (expected_calibration_error, brier_score):
        one = measure(probabilities, labels)
        assert measure(probabilities[order], labels[order]) == pytest.approx(one, abs=1e-12)


def test_certain_predictions_land_in_the_last_bin_whatever_their_rounding() -> None:
    probabilities = np.array([[1.0 + 1e-7, 0.0], [1.0, 0.0]], dtype=np.float32)
    last = reliability_bins(probabilities, np.array([0, 1]))[-1]
    assert last["count"] == 2
    assert last["confidence"] == 1.0
    assert last["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.array([[0.5, 0.5], [2.0, -1.0]]), np.array([0, 1]), "example 1 are negative"),
        (np.array([[3.0, 1.0]]), np.array([0]), "do not add up to 1"),
        (np.array([[0.5, np.nan]]), np.array([0]), "not all finite"),
        (np.array([[0.5, 0.5]]), np.array([2]), "label 2 of example 0"),
        (np.zeros((0, 2)), np.zeros(0, int), r"shape \(0, 2\)"),
    ],
)
@pytest.mark.parametrize("measure", [expected_calibration_error, brier_score, reliability_bins])
def test_refuses_what_is_no_prediction(
    measure: Any, probabilities: Any, labels: Any, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        measure(probabilities, labels)


def test_refuses_no_bins() -> None:
    with pytest.raises(ShapeError, match="0 bins"):
        reliability_bins(np.array([[0.5, 0.5]]), np.array([0]), bins=0)
