"""Fitting the linear model of word n-grams, by scikit-learn."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qkv.data.dataset import IntArray
from qkv.errors import MissingExtraError, ShapeError
from qkv.text.ngrams.features import Features, bag_features, joined
from qkv.text.ngrams.settings import NGramSettings
from qkv.text.ngrams.words import Bags, bag_ngrams

_SEED = 0
# The error that this leaves in validation accuracy is below a text in ten thousand.
_TOLERANCE = 0.01
_MOST_PASSES = 1000

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FittedWeights:
    """The arrays of an `NGramModel`."""

    buckets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    idf: npt.NDArray[np.float32] | None
    fitted_texts: int


def fit_weights(
    texts: Sequence[str],
    labels: IntArray,
    num_classes: int,
    settings: NGramSettings,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> FittedWeights:
    """The weights that `NGramModel.fit` documents.

    Raises:
        ShapeError: there is no text, or labels and texts do not fit.
        MissingExtraError: scikit-learn is not installed.
    """
    _check(texts, labels, num_classes)
    logistic_regression = _logistic_regression()
    # In a seeded order, so that what is beyond `max_ngrams` is not the last class's texts.
    order = np.random.default_rng(_SEED).permutation(len(texts))
    bags = _count([texts[number] for number in order], settings, progress)
    fitted = sum(part.texts for part in bags)
    labels = labels[order[:fitted]]
    seen, counts = np.unique(np.concatenate([part.buckets for part in bags]), return_counts=True)
    kept = counts >= settings.min_texts
    buckets, counts = seen[kept], counts[kept]
    idf = None
    if settings.kind == "tfidf":
        idf = (np.log((1 + fitted) / (1 + counts)) + 1).astype(np.float32)
    features = joined([bag_features(bags.popleft(), buckets, idf) for _ in range(len(bags))])
    rows, bias = [], []
    for row in [1] if num_classes == 2 else range(num_classes):
        wanted = labels == row
        ratio = _log_count_ratio(features, wanted, len(buckets), settings)
        weights, offset = logistic_regression(features, wanted, ratio, settings)
        if settings.kind == "nb" and len(weights):
            share = settings.interpolation
            weights = (1 - share) * np.abs(weights).mean() + share * weights
        rows.append((weights * ratio).astype(np.float32))
        bias.append(offset)
    return FittedWeights(
        buckets=buckets,
        weights=np.stack(rows),
        bias=np.array(bias, np.float32),
        idf=idf,
        fitted_texts=fitted,
    )


def _check(texts: Sequence[str], labels: IntArray, num_classes: int) -> None:
    if num_classes < 2 or len(texts) == 0:
        raise ShapeError(
            f"an n-gram model of {len(texts)} texts and {num_classes} classes",
            remedy="pass at least one text and two classes",
        )
    if (
        labels.shape != (len(texts),)
        or not np.issubdtype(labels.dtype, np.integer)
        or labels.min() < 0
        or labels.max() >= num_classes
    ):
        raise ShapeError(
            f"labels of shape {labels.shape} and type {labels.dtype} for {len(texts)} texts of "
            f"{num_classes} classes",
            remedy=f"pass one integer from 0 to {num_classes - 1} a text",
        )


def _count(
    texts: Sequence[str],
    settings: NGramSettings,
    progress: Callable[[int, int], None] | None,
) -> deque[Bags]:
    """The bags of as many texts as `max_ngrams` allows, at least of one chunk."""
    bags: deque[Bags] = deque()
    ngrams = 0
    for part in bag_ngrams(
        texts, max_n=settings.max_n, hash_bits=settings.hash_bits, progress=progress
    ):
        ngrams += len(part.buckets)
        if bags and ngrams > settings.max_ngrams:
            if progress is not None:
                progress(len(texts), len(texts))
            break
        bags.append(part)
    return bags


def _log_count_ratio(
    features: Features, wanted: npt.NDArray[np.bool_], width: int, settings: NGramSettings
) -> FloatArray:
    """The naive-Bayes weight of each feature for one class against the rest; 1 for `tfidf`."""
    if settings.kind == "tfidf" or width == 0:
        return np.ones(width)
    inside = np.repeat(wanted, np.diff(features.bounds))
    ratio = np.zeros(width)
    for sign, chosen in ((1, inside), (-1, ~inside)):
        counts = settings.smoothing + np.bincount(features.columns[chosen], minlength=width)
        ratio += sign * (np.log(counts) - np.log(counts.sum()))
    return ratio


Regression = Callable[
    [Features, npt.NDArray[np.bool_], FloatArray, NGramSettings], tuple[FloatArray, float]
]


def _logistic_regression() -> Regression:
    """A function that fits a score to be above 0 where a text is wanted."""
    try:
        from scipy.sparse import csr_array  # type: ignore[import-untyped]
        from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
        from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError(
            "the n-gram baseline needs scikit-learn, which is not installed",
            remedy="pip install 'qkv[text]'",
        ) from None

    def fit(
        features: Features,
        wanted: npt.NDArray[np.bool_],
        ratio: FloatArray,
        settings: NGramSettings,
    ) -> tuple[FloatArray, float]:
        positives, texts = int(wanted.sum()), len(wanted)
        if len(ratio) == 0 or positives in (0, texts):
            # Nothing tells the classes apart but how frequent they are.
            return np.zeros(len(ratio)), float(
                np.log((positives + 0.5) / (texts - positives + 0.5))
            )
        values = features.values * ratio[features.columns]
        bounds = features.bounds.astype(np.int32)  # which `max_ngrams` leaves room for
        matrix = csr_array((values, features.columns, bounds), shape=(texts, len(ratio)))
        solver = LogisticRegression(
            C=settings.inverse_penalty,
            solver="liblinear",
            dual=True,
            tol=_TOLERANCE,
            max_iter=_MOST_PASSES,
            random_state=_SEED,
        )
        with warnings.catch_warnings():
            # A thousand passes are where more would change nothing that is reported.
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.fit(matrix, wanted)
        return solver.coef_[0], float(solver.intercept_[0])

    return fit
