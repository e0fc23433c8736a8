"""How far predicted probabilities can be believed.

Probabilities are (examples, classes), each row a distribution; labels (examples,), the true
classes; `bins` cut the confidence from 0 to 1 into equal intervals.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qkv.errors import ShapeError

FloatArray = npt.NDArray[np.floating[Any]]
IntegerArray = npt.NDArray[np.integer[Any]]

# Rows of float32 or bfloat16 probabilities do not add up to 1 exactly.
_SUM_TOLERANCE = 1e-2


def calibration_document(
    probabilities: FloatArray, labels: IntegerArray, bins: int = 15
) -> dict[str, Any]:
    """Every calibration figure of one set of predictions, as plain JSON values.

    Raises:
        ShapeError: shapes disagree, a label names no class, or a row is no distribution.
    """
    table = reliability_bins(probabilities, labels, bins)
    return {
        "expected_calibration_error": _gap(table),
        "brier": brier_score(probabilities, labels),
        "bins": table,
    }


def expected_calibration_error(
    probabilities: FloatArray, labels: IntegerArray, bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy, from 0 (calibrated) to 1.

    `Σ_b (n_b / n) · |accuracy_b − confidence_b|` over bins b of the highest probability: Guo,
    Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 3.

    Raises:
        ShapeError: shapes disagree, a label names no class, or a row is no distribution.
    """
    return _gap(reliability_bins(probabilities, labels, bins))


def brier_score(probabilities: FloatArray, labels: IntegerArray) -> float:
    """Mean squared distance between the predicted and the true distribution, from 0 to 2.

    `1/n Σ_i Σ_c (p_ic − [c = y_i])²`, summed over classes: Brier, "Verification of forecasts
    expressed in terms of probability", Monthly Weather Review 78, 1950, equation 2. For two
    classes this is twice the score that looks at the positive class alone.

    Raises:
        ShapeError: shapes disagree, a label names no class, or a row is no distribution.
    """
    distance = _distributions(probabilities, labels)
    distance[np.arange(len(labels)), labels] -= 1.0
    return float(np.square(distance).sum(axis=1).mean())


def reliability_bins(
    probabilities: FloatArray, labels: IntegerArray, bins: int = 15
) -> list[dict[str, Any]]:
    """Examples grouped by the probability of their predicted class, lowest bin first.

    A bin holds confidences with `lower < confidence ≤ upper`. Its `confidence` and `accuracy` are
    means over its `count` examples, and None where it is empty.

    Raises:
        ShapeError: shapes disagree, a label names no class, or a row is no distribution.
    """
    if bins < 1:
        raise ShapeError(f"calibration: {bins} bins", remedy="ask for at least one bin")
    values = _distributions(probabilities, labels)
    predicted = values.argmax(axis=1)
    # Rounding must not push a certain prediction past the last edge.
    confidence = np.minimum(values[np.arange(len(values)), predicted], 1.0)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    confidence_sums = np.bincount(place, weights=confidence, minlength=bins)
    correct = np.bincount(place, weights=predicted == labels, minlength=bins)
    return [
        {
            "lower": float(edges[b]),
            "upper": float(edges[b + 1]),
            "count": int(counts[b]),
            "confidence": float(confidence_sums[b] / counts[b]) if counts[b] else None,
            "accuracy": float(correct[b] / counts[b]) if counts[b] else None,
        }
        for b in range(bins)
    ]


def check_scores(scores: FloatArray, labels: IntegerArray, what: str) -> None:
    """Refuse scores and labels that do not belong together.

    Args:
        scores: (examples, classes) finite floats: logits or probabilities.
        labels: (examples,) integers below `classes`.
        what: the name of the scores in the error.

    Raises:
        ShapeError: a shape, type or value is wrong, or there is no example.
    """
    if scores.ndim != 2 or 0 in scores.shape:
        raise ShapeError(
            f"{what} of shape {scores.shape}",
            remedy="pass (examples, classes), at least one of each",
        )
    if not np.issubdtype(scores.dtype, np.floating):
        raise ShapeError(f"{what} of type {scores.dtype}", remedy="pass floating-point numbers")
    if labels.shape != scores.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ShapeError(
            f"{what} of shape {scores.shape} have labels of shape {labels.shape} and type "
            f"{labels.dtype}",
            remedy="pass one integer label an example",
        )
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ShapeError(
            f"{what} of example {row} are not all finite",
            remedy="find out why the model gave infinity or NaN",
        )
    outside = np.flatnonzero((labels < 0) | (labels >= scores.shape[1]))
    if len(outside):
        row = int(outside[0])
        raise ShapeError(
            f"{what}: label {labels[row]} of example {row} names none of {scores.shape[1]} classes",
            remedy=f"use labels from 0 to {scores.shape[1] - 1}",
        )


def _distributions(probabilities: FloatArray, labels: IntegerArray) -> npt.NDArray[np.float64]:
    check_scores(probabilities, labels, "probabilities")
    values = probabilities.astype(np.float64)
    wrong = (values < 0).any(axis=1) | (np.abs(values.sum(axis=1) - 1.0) > _SUM_TOLERANCE)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ShapeError(
            f"probabilities of example {row} are negative or do not add up to 1",
            remedy="apply a softmax to logits first",
        )
    return values


def _gap(table: list[dict[str, Any]]) -> float:
    examples = sum(entry["count"] for entry in table)
    total = sum(
        entry["count"] * abs(entry["accuracy"] - entry["confidence"])
        for entry in table
        if entry["count"]
    )
    return float(total / examples)


LOWEST, HIGHEST = 0.05, 20.0
_MOST_STEPS = 100

Float64Array = npt.NDArray[np.float64]


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The T that minimises the mean negative log likelihood of `softmax(logits / T)`.

    Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section
    4.2. It is never worse on these examples than T = 1, and no prediction changes. The loss is
    convex in 1/T, so Newton's method within a shrinking bracket finds its one minimum.

    T stays within 0.05 and 20. Where every label has the largest logit of its row (one class, equal
    logits, or no mistake at all), the loss falls for ever as T → 0 or does not change: such
    examples cannot say how sure to be, and T is 1.

    Raises:
        ShapeError: shapes disagree, a logit is not finite, or a label names no class.
    """
    scores, truth = np.array(logits, dtype=np.float64), np.asarray(labels)
    check_scores(scores, truth, "temperature: logits")
    scores -= scores.max(axis=1, keepdims=True)
    margins = scores[np.arange(len(truth)), truth]  # at most 0
    if not margins.any():
        return 1.0
    low, high = 1 / HIGHEST, 1 / LOWEST
    if _slopes(scores, margins, low)[0] >= 0:
        return HIGHEST
    if _slopes(scores, margins, high)[0] <= 0:
        return LOWEST
    inverse = 1.0
    for _ in range(_MOST_STEPS):
        slope, curvature = _slopes(scores, margins, inverse)
        if slope > 0:
            high = inverse
        else:
            low = inverse
        # Far from the minimum the curvature can be 0, or lead out of the bracket.
        step = inverse - slope / curvature if curvature > 0 else high
        if not low < step < high:
            step = float(np.sqrt(low * high))
        if abs(step - inverse) <= 1e-12 * inverse:
            break
        inverse = step
    return 1 / inverse if _loss(scores, margins, inverse) <= _loss(scores, margins, 1.0) else 1.0


def _slopes(scores: Float64Array, margins: Float64Array, inverse: float) -> tuple[float, float]:
    """First and second derivative of the loss by 1/T: mean E[z] − z_y, and mean Var[z]."""
    powers = np.exp(inverse * scores)
    shares = powers / powers.sum(axis=1, keepdims=True)
    means = (shares * scores).sum(axis=1)
    variances = (shares * (scores - means[:, None]) ** 2).sum(axis=1)
    return float((means - margins).mean()), float(variances.mean())


def _loss(scores: Float64Array, margins: Float64Array, inverse: float) -> float:
    return float((np.log(np.exp(inverse * scores).sum(axis=1)) - inverse * margins).mean())
