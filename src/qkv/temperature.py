"""Temperature: one number that makes probabilities as sure as they are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qkv.errors import ShapeError

LOWEST, HIGHEST = 0.05, 20.0
_MOST_STEPS = 100

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The T that minimises the mean negative log likelihood of `softmax(logits / T)`.

    Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section
    4.2. It is never worse on these examples than T = 1, and no prediction changes. The loss is
    convex in 1/T, so Newton's method within a shrinking bracket finds its one minimum.

    T stays within 0.05 and 20. Where every label has the largest logit of its row (one class, equal
    logits, or no mistake at all), the loss falls for ever as T → 0 or does not change: such
    examples cannot say how sure to be, and T is 1.

    Args:
        logits: (examples, classes) finite numbers: unnormalised log probabilities.
        labels: (examples,) integers, the true class of each row.

    Raises:
        ShapeError: shapes disagree, a logit is not finite, or a label names no class.
    """
    scores, truth = _checked(logits, labels)
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


def _checked(logits: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[FloatArray, IntArray]:
    scores, truth = np.array(logits, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ShapeError(
            f"temperature: logits of shape {scores.shape}",
            remedy="pass (examples, classes), at least one of each",
        )
    if not np.isfinite(scores).all():
        raise ShapeError(
            "temperature: logits are not all finite",
            remedy="find out why the model gave infinity or NaN",
        )
    if (
        truth.shape != scores.shape[:1]
        or not np.issubdtype(truth.dtype, np.integer)
        or truth.min() < 0
        or truth.max() >= scores.shape[1]
    ):
        raise ShapeError(
            f"temperature: labels of shape {truth.shape} and type {truth.dtype} for logits of "
            f"shape {scores.shape}",
            remedy=f"pass one integer from 0 to {scores.shape[1] - 1} an example",
        )
    return scores, truth


def _slopes(scores: FloatArray, margins: FloatArray, inverse: float) -> tuple[float, float]:
    """First and second derivative of the loss by 1/T: mean E[z] − z_y, and mean Var[z]."""
    powers = np.exp(inverse * scores)
    shares = powers / powers.sum(axis=1, keepdims=True)
    means = (shares * scores).sum(axis=1)
    variances = (shares * (scores - means[:, None]) ** 2).sum(axis=1)
    return float((means - margins).mean()), float(variances.mean())


def _loss(scores: FloatArray, margins: FloatArray, inverse: float) -> float:
    return float((np.log(np.exp(inverse * scores).sum(axis=1)) - inverse * margins).mean())
