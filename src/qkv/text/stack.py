"""Two classifiers' opinions joined into one, by weights learnt on validation data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from qkv.data.dataset import IntArray
from qkv.errors import ShapeError
from qkv.settings import Settings

FloatArray = npt.NDArray[np.float64]

_MOST_STEPS = 100
_TOLERANCE = 1e-12  # nats that another step could gain
_SHORTEST_STEP = 1e-6


class Stack(Settings):
    """How the log probabilities of a neural model and of n-grams are joined.

    The joint scores are `a·ln p_neural + b·ln p_ngrams + c`, and a softmax of them. `Stack()` with
    one bias of 0 a class is the neural model alone.
    """

    neural_weight: float = Field(default=1.0, ge=0.0)
    """a, the weight of the neural model."""
    ngram_weight: float = Field(default=0.0, ge=0.0)
    """b, the weight of the n-grams."""
    biases: tuple[float, ...] = Field(min_length=2, strict=False)
    """c, one a class, adding up to 0."""

    def log_probabilities(
        self, neural: npt.ArrayLike, ngrams: npt.ArrayLike
    ) -> npt.NDArray[np.float64]:
        """The joint log probabilities (texts, classes).

        Args:
            neural: (texts, classes) log probabilities of the neural model, in nats.
            ngrams: (texts, classes) log probabilities of the n-grams.

        Raises:
            ShapeError: shapes disagree or a number is not finite.
        """
        first, second = _checked(neural, ngrams)
        if first.shape[1] != len(self.biases):
            raise ShapeError(
                f"a stack of {len(self.biases)} classes, log probabilities of {first.shape[1]}",
                remedy="pass what models of the same classes answered",
            )
        scores = self.neural_weight * first + self.ngram_weight * second + np.array(self.biases)
        return _log_softmax(scores)


def fit_stack(
    neural_log_probabilities: npt.ArrayLike,
    ngram_log_probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
) -> Stack:
    """Learn to join two models, on data that neither was fitted to.

    Multinomial logistic regression on two numbers a class. With n examples it minimises
    `mean loss + ((a − 1)² + b² + ‖c‖²) / 2n` for a, b ≥ 0, which is convex: a standard normal
    prior around the neural model alone, which rules where examples are few and fades among many.
    The mean loss on these examples is never above the neural model's, and at most 1/n nats above
    that of the n-grams. The weights also do the work of a temperature.

    Args:
        neural_log_probabilities: (examples, classes) in nats.
        ngram_log_probabilities: (examples, classes) in nats.
        labels: (examples,) integers, the true class of each row.

    Raises:
        ShapeError: shapes disagree, a number is not finite, or a label names no class.
    """
    first, second = _checked(neural_log_probabilities, ngram_log_probabilities)
    truth = _checked_labels(labels, first.shape)
    parts = np.stack([first, second])
    parts -= parts.max(axis=2, keepdims=True)  # which no softmax sees, and which spares digits
    solution = _bounded_minimum(parts, truth)
    # Softmax does not see their mean either, and the prior pulls it to 0 up to rounding.
    biases = solution[2:] - solution[2:].mean()
    return Stack(
        neural_weight=float(solution[0]),
        ngram_weight=float(solution[1]),
        biases=tuple(biases.tolist()),
    )


def _bounded_minimum(parts: FloatArray, truth: IntArray) -> FloatArray:
    """The (a, b, c) of lowest loss with a, b ≥ 0.

    The minimum lies on one of four sets: either weight, both or none at its bound of 0. Of the
    minima of these sets that respect both bounds, the lowest is the answer.
    """
    best, lowest = np.zeros(0), np.inf
    for free in ((True, True), (True, False), (False, True), (False, False)):
        loss, found = _minimum(parts, truth, np.array(free))
        if (found[:2] >= 0).all() and loss < lowest:
            best, lowest = found, loss
            if all(free):
                break
    return best


def _minimum(
    parts: FloatArray, truth: IntArray, free: npt.NDArray[np.bool_]
) -> tuple[float, FloatArray]:
    """Loss and place of the minimum with the weights that are not `free` at 0, by Newton."""
    moving = np.concatenate([free, np.ones(parts.shape[2], dtype=np.bool_)])
    place = np.where(moving, _neural_alone(parts.shape[2]), 0.0)
    loss = _loss(parts, truth, place)
    for _ in range(_MOST_STEPS):
        slope, curvature = _slopes(parts, truth, place)
        step = np.zeros(len(place))
        step[moving] = np.linalg.solve(curvature[np.ix_(moving, moving)], -slope[moving])
        gain = -float(slope @ step)
        length = 1.0
        while gain > _TOLERANCE:
            tried = _loss(parts, truth, place + length * step)
            if tried <= loss - 0.1 * length * gain:
                break
            length /= 2
            if length < _SHORTEST_STEP:
                return loss, place  # rounding leaves nothing to gain
        else:
            return loss, place
        place, loss = place + length * step, tried
    return loss, place


def _neural_alone(classes: int) -> FloatArray:
    return np.concatenate([[1.0], np.zeros(classes + 1)])


def _loss(parts: FloatArray, truth: IntArray, place: FloatArray) -> float:
    """Mean negative log likelihood plus the prior's share."""
    logs = _log_softmax(_scores(parts, place))
    away = place - _neural_alone(parts.shape[2])
    examples = len(truth)
    return float(-logs[np.arange(examples), truth].mean() + away @ away / (2 * examples))


def _slopes(parts: FloatArray, truth: IntArray, place: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradient and Hessian of `_loss` by (a, b, c)."""
    _, examples, classes = parts.shape
    shares = np.exp(_log_softmax(_scores(parts, place)))
    surplus = shares.copy()
    surplus[np.arange(examples), truth] -= 1.0
    slope = np.concatenate([(parts * surplus).sum(axis=(1, 2)), surplus.sum(axis=0)])
    # Of each part, what a class has above the mean of its row under the joint distribution.
    above = parts - (parts * shares).sum(axis=2, keepdims=True)
    weighted = above * shares
    corner = np.einsum("pnc,qnc->pq", weighted, above)
    side = weighted.sum(axis=1)
    biases = np.diag(shares.sum(axis=0)) - shares.T @ shares
    curvature = np.block([[corner, side], [side.T, biases]]) + np.eye(classes + 2)
    return (slope + place - _neural_alone(classes)) / examples, curvature / examples


def _scores(parts: FloatArray, place: FloatArray) -> FloatArray:
    scores: FloatArray = place[0] * parts[0] + place[1] * parts[1] + place[2:]
    return scores


def _log_softmax(scores: FloatArray) -> FloatArray:
    shifted = scores - scores.max(axis=1, keepdims=True)
    result: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _checked(neural: npt.ArrayLike, ngrams: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    first, second = (np.asarray(part, dtype=np.float64) for part in (neural, ngrams))
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] < 2:
        raise ShapeError(
            f"stack: log probabilities of shapes {first.shape} and {second.shape}",
            remedy="pass (texts, classes) twice, at least two classes",
        )
    for part, name in ((first, "neural model"), (second, "n-grams")):
        if not np.isfinite(part).all():
            raise ShapeError(
                f"stack: log probabilities of the {name} are not all finite",
                remedy="find out why the model gave infinity or NaN",
            )
    return first, second


def _checked_labels(labels: npt.ArrayLike, shape: tuple[int, ...]) -> IntArray:
    truth = np.asarray(labels)
    if (
        len(truth) == 0
        or truth.shape != shape[:1]
        or not np.issubdtype(truth.dtype, np.integer)
        or truth.min() < 0
        or truth.max() >= shape[1]
    ):
        raise ShapeError(
            f"stack: labels of shape {truth.shape} and type {truth.dtype} for log probabilities "
            f"of shape {shape}",
            remedy=f"pass at least one integer from 0 to {shape[1] - 1}, one a text",
        )
    return truth.astype(np.int64)
