from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax as scipy_log_softmax
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
)

from qkv.errors import ShapeError
from qkv.evaluation.metrics import evaluate_predictions, log_softmax, wilson_interval

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


def names(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Float32, Int64]:
    examples, classes = draw(st.integers(1, 13)), draw(st.integers(1, 5))
    logits = draw(
        hnp.arrays(np.float32, (examples, classes), elements=st.floats(-50, 50, width=32))
    )
    labels = draw(hnp.arrays(np.int64, examples, elements=st.integers(0, classes - 1)))
    return logits, labels


def seeded(examples: int = 211, classes: int = 7) -> tuple[Float32, Int64]:
    """Predictions that are often right, with a class never true and one never predicted."""
    generator = np.random.default_rng(5)
    logits = generator.normal(size=(examples, classes)).astype(np.float32)
    labels = generator.integers(0, classes - 1, examples)
    logits[np.arange(examples), labels] += 1.5
    logits[:, 0] -= 20
    return logits, labels


def test_agrees_with_scikit_learn() -> None:
    logits, labels = seeded()
    document = evaluate_predictions(logits, labels, names(7))
    predicted = logits.argmax(axis=1)
    every = list(range(7))

    assert document["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    matrix = confusion_matrix(labels, predicted, labels=every)
    assert document["confusion_matrix"] == matrix.tolist()
    probabilities = np.exp(scipy_log_softmax(logits.astype(np.float64), axis=1))
    assert document["loss"] == pytest.approx(log_loss(labels, probabilities, labels=every))
    columns = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0.0)
    for key, column in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        ours = [scores[key] for scores in document["per_class"].values()]
        np.testing.assert_allclose(ours, column, rtol=1e-12, err_msg=key)
    # The case has what the zero-division rule is for.
    assert document["per_class"]["class 6"]["support"] == 0
    assert sum(row[0] for row in document["confusion_matrix"]) == 0


def test_counts_by_hand() -> None:
    # Truth 0 0 0 1, prediction 0 0 1 1: two hits of class 0 in three, one miss taken for class 1.
    logits = np.log(np.array([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]]))
    document = evaluate_predictions(logits, np.array([0, 0, 0, 1]), ["no", "yes"])
    assert document["accuracy"] == 0.75
    assert document["examples"] == 4
    assert document["confusion_matrix"] == [[2, 1], [0, 1]]
    assert document["loss"] == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)
    assert document["per_class"] == {
        "no": {"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3},
        "yes": {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1},
    }


@pytest.mark.parametrize("correct", [0, 1, 37, 8497, 9999, 10_000])
def test_wilson_interval_agrees_with_scipy(correct: int) -> None:
    theirs = binomtest(correct, 10_000).proportion_ci(0.95, method="wilson")
    assert wilson_interval(correct, 10_000) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_interval_of_a_known_case() -> None:
    # 81 of 263, from Newcombe, "Two-sided confidence intervals for the single proportion", 1998.
    low, high = wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(("correct", "examples"), [(0, 0), (5, 4), (-1, 4)])
def test_wilson_interval_refuses_impossible_counts(correct: int, examples: int) -> None:
    with pytest.raises(ShapeError, match=f"{correct} correct of {examples}"):
        wilson_interval(correct, examples)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_wilson_interval_holds_the_share(examples: int, share: float) -> None:
    correct = round(share * examples)
    low, high = wilson_interval(correct, examples)
    assert 0.0 <= low <= correct / examples <= high <= 1.0
    assert low < high


@given(predictions())
def test_document_is_consistent_and_plain_json(case: tuple[Float32, Int64]) -> None:
    logits, labels = case
    classes = logits.shape[1]
    document = evaluate_predictions(logits, labels, names(classes))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    matrix = np.array(document["confusion_matrix"])
    assert matrix.sum() == document["examples"] == len(labels)
    assert np.trace(matrix) / len(labels) == document["accuracy"]
    low, high = document["accuracy_interval_95"]
    assert low <= document["accuracy"] <= high
    supports = [scores["support"] for scores in document["per_class"].values()]
    assert supports == np.bincount(labels, minlength=classes).tolist()
    assert document["loss"] >= 0


@given(predictions(), st.randoms(use_true_random=False))
def test_order_of_examples_does_not_matter(case: tuple[Float32, Int64], random: Any) -> None:
    logits, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    one = evaluate_predictions(logits, labels, names(logits.shape[1]))
    other = evaluate_predictions(logits[order], labels[order], names(logits.shape[1]))
    for key in ("accuracy", "accuracy_interval_95", "examples", "per_class", "confusion_matrix"):
        assert one[key] == other[key]
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-12)


@given(hnp.arrays(np.int64, st.integers(1, 20), elements=st.integers(0, 3)))
def test_perfect_predictions(labels: Int64) -> None:
    document = evaluate_predictions(1000.0 * np.eye(4)[labels], labels, names(4))
    assert document["accuracy"] == 1.0
    assert str(document["loss"]) == "0.0"  # not -0.0
    assert document["calibration"]["brier"] == 0.0
    assert document["calibration"]["expected_calibration_error"] == 0.0
    for number, scores in enumerate(document["per_class"].values()):
        there = float(number in labels)
        assert (scores["precision"], scores["recall"], scores["f1"]) == (there, there, there)


def test_loss_is_exact_for_huge_logits() -> None:
    logits = np.array([[1e4, -1e4], [3e38, 0.0]], dtype=np.float32)
    document = evaluate_predictions(logits[:1], np.array([1]), ["a", "b"])
    assert document["loss"] == 20_000.0
    assert evaluate_predictions(logits[1:], np.array([0]), ["a", "b"])["loss"] == 0.0


def test_loss_is_computed_in_float64() -> None:
    # In float32, log(1 + e^-20) is exactly 0.
    logits = np.array([[20.0, 0.0]], dtype=np.float32)
    document = evaluate_predictions(logits, np.array([0]), ["a", "b"])
    assert document["loss"] == pytest.approx(np.log1p(np.exp(-20.0)), rel=1e-6)


def test_log_softmax_leaves_its_argument_alone() -> None:
    logits = np.arange(6.0).reshape(2, 3)
    before = logits.copy()
    np.testing.assert_allclose(log_softmax(logits), scipy_log_softmax(before, axis=1), rtol=1e-13)
    np.testing.assert_array_equal(logits, before)


def test_ties_go_to_the_lower_class() -> None:
    document = evaluate_predictions(np.zeros((2, 3)), np.array([0, 1]), names(3))
    assert document["confusion_matrix"] == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


OK = np.zeros((3, 2))
LABELS = np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("logits", "labels", "class_names", "message"),
    [
        (np.zeros(3), LABELS, ["a", "b"], r"logits of shape \(3,\)"),
        (np.zeros((0, 2)), np.zeros(0, int), ["a", "b"], r"logits of shape \(0, 2\)"),
        (np.zeros((3, 0)), LABELS, [], r"logits of shape \(3, 0\)"),
        (np.zeros((3, 2), int), LABELS, ["a", "b"], "logits of type int64"),
        (OK, LABELS[:2], ["a", "b"], r"labels of shape \(2,\)"),
        (OK, LABELS.astype(float), ["a", "b"], "type float64"),
        (OK, LABELS.astype(bool), ["a", "b"], "type bool"),
        (OK, np.array([0, 2, 1]), ["a", "b"], "label 2 of example 1 names none of 2 classes"),
        (OK, np.array([0, 0, -1]), ["a", "b"], "label -1 of example 2"),
        (OK, LABELS, ["a"], "1 class names"),
        (OK, LABELS, ["a", "a"], "1 of them different"),
        (np.array([[0, 1], [0, np.nan], [0, 1]]), LABELS, ["a", "b"], "example 1 are not all fin"),
        (np.array([[0, 1], [0, 1], [-np.inf, 1]]), LABELS, ["a", "b"], "example 2 are not all fin"),
    ],
)
def test_refuses_what_does_not_fit(
    logits: Any, labels: Any, class_names: list[str], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        evaluate_predictions(logits, labels, class_names)
