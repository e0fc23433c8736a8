"""What a classifier's test predictions are worth, as one JSON document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qkv.errors import ShapeError
from qkv.evaluation.calibration import (
    FloatArray,
    IntegerArray,
    calibration_document,
    check_scores,
)

_Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def evaluate_predictions(
    logits: FloatArray, labels: IntegerArray, class_names: Sequence[str]
) -> dict[str, Any]:
    """The evaluation document: everything reported about one set of predictions.

    Keys: `accuracy`, `accuracy_interval_95`, `loss` (mean negative log likelihood in nats),
    `examples`, `per_class` (name → precision, recall, f1, support; 0.0 where the denominator is
    0), `confusion_matrix` (rows truth, columns prediction) and `calibration`. Values are plain
    Python numbers and never NaN. Between equal logits the lower class number is predicted.

    Args:
        logits: (examples, classes) unnormalised log probabilities.
        labels: (examples,) true class of each row.
        class_names: the name of each class, in label order.

    Raises:
        ShapeError: shapes disagree, a value is not finite, or a label names no class.
    """
    check_scores(logits, labels, "logits")
    classes = logits.shape[1]
    if len(class_names) != classes or len(set(class_names)) != classes:
        raise ShapeError(
            f"{len(class_names)} class names, {len(set(class_names))} of them different, for "
            f"logits of {classes} classes",
            remedy="pass one unique name a class",
        )
    log_probabilities = log_softmax(logits)
    confusion = confusion_matrix(logits.argmax(axis=1), labels, classes)
    correct = int(np.trace(confusion))
    examples = len(labels)
    return {
        "accuracy": correct / examples,
        "accuracy_interval_95": list(wilson_interval(correct, examples)),
        # No log probability is above 0; abs, unlike a minus sign, never gives -0.0.
        "loss": float(abs(log_probabilities[np.arange(examples), labels].mean())),
        "examples": examples,
        "per_class": per_class_scores(confusion, class_names),
        "confusion_matrix": confusion.tolist(),
        "calibration": calibration_document(np.exp(log_probabilities), labels),
    }


def log_softmax(logits: FloatArray) -> npt.NDArray[np.float64]:
    """Log probabilities in float64, stable for logits of any size: (examples, classes)."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def wilson_interval(correct: int, examples: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, within [0, 1] even at 0 or all correct.

    With z = 1.96 and p = correct / n: `(p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)`:
    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    American Statistical Association 22, 1927.

    Raises:
        ShapeError: there is no example, or more are correct than there are.
    """
    if examples < 1 or not 0 <= correct <= examples:
        raise ShapeError(
            f"{correct} correct of {examples} examples",
            remedy="count at least one example and no more correct ones than there are",
        )
    share, square = correct / examples, _Z_95**2 / examples
    middle = share + square / 2
    reach = math.sqrt(square * (share * (1 - share) + square / 4))
    low, high = (middle - reach) / (1 + square), (middle + reach) / (1 + square)
    # Algebra makes these two ends exact; rounding alone would leave 1e−17.
    return (0.0 if correct == 0 else low, 1.0 if correct == examples else high)


def confusion_matrix(
    predicted: IntegerArray, labels: IntegerArray, classes: int
) -> npt.NDArray[np.int64]:
    """Counts (classes, classes): row the true class, column the predicted one."""
    pairs = labels.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def per_class_scores(
    confusion: npt.NDArray[np.int64], class_names: Sequence[str]
) -> dict[str, dict[str, float | int]]:
    """Precision, recall, F1 and support of each class; 0.0 where a denominator is 0.

    Args:
        confusion: (classes, classes), row the true class, column the predicted one.
        class_names: the name of each class, in label order.
    """
    scores: dict[str, dict[str, float | int]] = {}
    for number, name in enumerate(class_names):
        hits = int(confusion[number, number])
        support = int(confusion[number].sum())
        predicted = int(confusion[:, number].sum())
        scores[name] = {
            "precision": hits / predicted if predicted else 0.0,
            "recall": hits / support if support else 0.0,
            "f1": 2 * hits / (support + predicted) if support + predicted else 0.0,
            "support": support,
        }
    return scores
