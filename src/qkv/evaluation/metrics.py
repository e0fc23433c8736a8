"""What a classifier's test predictions are worth, as one JSON document."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qkv.errors import ShapeError
from qkv.evaluation.calibration import FloatArray, IntegerArray, calibration_document, check_scores

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
    """Precision, recall, F1 and support of each class; 0.0 where a denominator is 0."""
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


def accuracy_by_length(
    lengths: IntegerArray, labels: IntegerArray, predicted: IntegerArray, bins: int = 10
) -> dict[str, Any]:
    """Accuracy of texts grouped by length, in bins of about equal count, as plain JSON values.

    Texts of one length are always in one bin, so bins are ranges that do not overlap; there are
    fewer than `bins` where lengths repeat that much. Keys: `examples`, `accuracy` (of all) and
    `bins`, shortest first, each with `shortest` and `longest` (the lengths that occur in it),
    `count`, `accuracy` and `accuracy_interval_95` (Wilson).

    Args:
        lengths: (texts,) length of each text, in tokens.
        labels: (texts,) true class of each text.
        predicted: (texts,) predicted class of each text.
        bins: how many groups at most.

    Raises:
        ShapeError: there is no text or no bin, or the three are not one integer a text.
    """
    given = (lengths, labels, predicted)
    if (
        bins < 1
        or len(lengths) == 0
        or any(values.shape != (len(lengths),) for values in given)
        or not all(np.issubdtype(values.dtype, np.integer) for values in given)
    ):
        shapes = ", ".join(f"{values.dtype} {values.shape}" for values in given)
        raise ShapeError(
            f"accuracy by length: lengths, labels and predictions {shapes}, in {bins} bins",
            remedy="pass one integer a text, for at least one text and one bin",
        )
    order = np.argsort(lengths, kind="stable")
    ascending, right = lengths[order], (labels == predicted)[order]
    # Where a bin of equal count would end, moved to where the next length begins.
    ends = (np.arange(1, bins + 1) * len(order)) // bins
    lasts = ascending[ends[ends > 0] - 1]
    edges = np.unique([0, *np.searchsorted(ascending, lasts, side="right")])
    return {
        "examples": len(order),
        "accuracy": float(right.mean()),
        "bins": [
            {
                "shortest": int(ascending[start]),
                "longest": int(ascending[stop - 1]),
                "count": stop - start,
                "accuracy": float(right[start:stop].mean()),
                "accuracy_interval_95": list(
                    wilson_interval(int(right[start:stop].sum()), stop - start)
                ),
            }
            for start, stop in itertools.pairwise(edges.tolist())
        ],
    }


BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PairedDifference:
    """How much more often the second is right than the first.

    Attributes:
        difference: accuracy of the second minus accuracy of the first, the mean over seeds.
        interval_95: its 95 % interval (low, high), for the draw of the examples.
        by_seed: the difference of each seed.
        only_first, only_second: answers that one alone has right, all seeds together.
    """

    difference: float
    interval_95: tuple[float, float]
    by_seed: tuple[float, ...]
    only_first: int
    only_second: int

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves out 0 and every seed agrees about the sign."""
        low, high = self.interval_95
        return (low > 0 and min(self.by_seed) > 0) or (high < 0 and max(self.by_seed) < 0)


def paired_difference(first: BoolArray, second: BoolArray) -> PairedDifference:
    """Compare two classifiers by whether they are right, example by example.

    With e_i in [−1, 1] the second's score at example i minus the first's (the mean over seeds) and
    n examples, d = Σ e_i / n is reported with the interval d* ± z·√(v*/(n + 2)), where
    d* = Σ e_i / (n + 2), v* = (Σ e_i² + 1)/(n + 2) − d*² and z = 1.96. For one seed that is the
    interval for matched pairs with half an example added to each cell of their 2 × 2 table, which
    keeps its level when few pairs differ: Agresti and Min, "Simple improved confidence intervals
    for comparing matched proportions", Statistics in Medicine 24, 2005.

    Args:
        first: (seeds, examples), whether the first is right.
        second: the same of the second, on the same examples and seeds.

    Raises:
        ShapeError: the two differ in shape, or there is no example or seed.
    """
    if first.shape != second.shape or first.ndim != 2 or first.size == 0:
        raise ShapeError(
            f"answers of shapes {first.shape} and {second.shape}",
            remedy="compare answers of one shape (seeds, examples), at least one of each",
        )
    step = second.astype(np.float64) - first
    each = step.mean(axis=0)
    padded = len(each) + 2
    centre = float(each.sum()) / padded
    variance = (float((each**2).sum()) + 1) / padded - centre**2
    reach = _Z_95 * math.sqrt(variance / padded)
    return PairedDifference(
        difference=float(each.mean()),
        interval_95=(max(-1.0, centre - reach), min(1.0, centre + reach)),
        by_seed=tuple(float(value) for value in step.mean(axis=1)),
        only_first=int((first & ~second).sum()),
        only_second=int((second & ~first).sum()),
    )
