"""Two classifiers' predictions joined into one, by weights learnt on validation data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from qkv.data.dataset import IntArray
from qkv.errors import MissingExtraError, ShapeError
from qkv.evaluation.calibration import check_scores
from qkv.evaluation.metrics import log_softmax
from qkv.settings import Settings

FloatArray = npt.NDArray[np.float64]


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

    def log_probabilities(self, neural: npt.ArrayLike, ngrams: npt.ArrayLike) -> FloatArray:
        """The joint log probabilities (texts, classes).

        Args:
            neural: (texts, classes) log probabilities of the neural model, in nats.
            ngrams: (texts, classes) log probabilities of the n-grams.

        Raises:
            ShapeError: shapes disagree or a number is not finite.
        """
        parts = _checked(neural, ngrams)
        if parts.shape[2] != len(self.biases):
            raise ShapeError(
                f"a stack of {len(self.biases)} classes, log probabilities of {parts.shape[2]}",
                remedy="pass what models of the same classes answered",
            )
        return log_softmax(
            self.neural_weight * parts[0] + self.ngram_weight * parts[1] + np.array(self.biases)
        )


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
        MissingExtraError: scipy, which comes with scikit-learn, is not installed.
    """
    try:
        from scipy.optimize import minimize  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError(
            "stacking needs scipy, which is not installed", remedy="pip install 'qkv[text]'"
        ) from None
    parts = _checked(neural_log_probabilities, ngram_log_probabilities)
    truth = np.asarray(labels)
    check_scores(parts[0], truth, "stack: log probabilities")
    parts = parts - parts.max(axis=2, keepdims=True)  # which no softmax sees: it spares digits
    classes = parts.shape[2]
    solution = minimize(
        _loss,
        np.eye(classes + 2)[0],
        args=(parts, truth),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * 2 + [(None, None)] * classes,
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000},
    ).x
    # Softmax does not see their mean either, and the prior pulls it to 0 up to rounding.
    biases = solution[2:] - solution[2:].mean()
    return Stack(
        neural_weight=float(solution[0]),
        ngram_weight=float(solution[1]),
        biases=tuple(biases.tolist()),
    )


def _loss(place: FloatArray, parts: FloatArray, truth: IntArray) -> tuple[float, FloatArray]:
    """Mean negative log likelihood plus the prior's share, and its gradient, at (a, b, c)."""
    rows = np.arange(len(truth))
    logs = log_softmax(place[0] * parts[0] + place[1] * parts[1] + place[2:])
    surplus = np.exp(logs)
    surplus[rows, truth] -= 1.0
    slope = np.concatenate([(parts * surplus).sum(axis=(1, 2)), surplus.sum(axis=0)])
    away = place - np.eye(len(place))[0]
    loss = -logs[rows, truth].mean() + away @ away / (2 * len(truth))
    return float(loss), (slope + away) / len(truth)


def _checked(neural: npt.ArrayLike, ngrams: npt.ArrayLike) -> FloatArray:
    """Both as one array (2, texts, classes)."""
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
    return np.stack([first, second])
