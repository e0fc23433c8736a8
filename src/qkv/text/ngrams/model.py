"""The n-gram model: what it says of texts, and what it is made of.

Answering needs numpy alone; only fitting needs scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qkv.data.dataset import IntArray
from qkv.errors import RunError
from qkv.text.ngrams.features import bag_features
from qkv.text.ngrams.fit import fit_weights
from qkv.text.ngrams.settings import NGramSettings
from qkv.text.ngrams.words import bag_ngrams

_REMEDY = "restore the run's model file, or train again"


@dataclass(frozen=True, eq=False)
class NGramModel:
    """A linear model on the bag of a text's word n-grams.

    Two classes share one row of weights: its score z is the log odds of class 1. More classes have
    a row each, fitted one against the rest, and p_c is proportional to sigmoid(z_c).

    Attributes:
        settings: what is counted.
        num_classes: at least 2.
        buckets: int32 (features,), the hash buckets that count, ascending.
        weights: float32 (rows, features).
        bias: float32 (rows,).
        idf: float32 (features,), the rarity of each feature; for `tfidf` alone.
        fitted_texts: training texts that were used (`max_ngrams` may have left some out).
    """

    settings: NGramSettings
    num_classes: int
    buckets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    idf: npt.NDArray[np.float32] | None
    fitted_texts: int

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: IntArray,
        num_classes: int,
        settings: NGramSettings | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> NGramModel:
        """Fit to labelled texts; the same texts and settings give the same model.

        `nb`: a text's features are its n-grams, 1 each, over the root of their number, times the
        log-count ratio r = log((p/‖p‖₁) / (q/‖q‖₁)), where p and q count the texts of the class and
        of the rest that have the n-gram, smoothed; then logistic regression: Wang and Manning,
        "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification", ACL 2012. `tfidf`:
        (1 + ln count) times ln((1 + texts) / (1 + texts with the n-gram)) + 1, each text scaled to
        length 1; then logistic regression.

        Args:
            texts: the training texts.
            labels: int (texts,), each below `num_classes`; a class may be without a text.
            num_classes: at least 2.
            settings: what is counted and how it is fitted.
            progress: called with (texts read, all texts).

        Raises:
            ShapeError: there is no text, or labels and texts do not fit.
            MissingExtraError: scikit-learn is not installed.
        """
        settings = settings or NGramSettings()
        fitted = fit_weights(texts, labels, num_classes, settings, progress=progress)
        return cls(settings=settings, num_classes=num_classes, **vars(fitted))

    def log_probabilities(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> npt.NDArray[np.float32]:
        """Log probabilities (texts, classes) in nats; each text's are its own, whatever the others.

        A text without a known n-gram gets what the class frequencies say.
        """
        scores = [np.empty((0, len(self.bias)))]
        for bags in bag_ngrams(
            texts,
            max_n=self.settings.max_n,
            hash_bits=self.settings.hash_bits,
            progress=progress,
        ):
            features = bag_features(bags, self.buckets, self.idf)
            scores.append(features.scores(self.weights) + self.bias)
        return _log_probabilities(np.concatenate(scores), self.num_classes)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that was learnt, for a safetensors file; `from_tensors` takes it back."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "buckets": self.buckets,
            "weights": self.weights,
            "bias": self.bias,
            "fitted_texts": np.array(self.fitted_texts, np.int64),
        }
        if self.idf is not None:
            arrays["idf"] = self.idf
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @classmethod
    def from_tensors(
        cls, settings: NGramSettings, num_classes: int, tensors: Mapping[str, Tensor]
    ) -> NGramModel:
        """The model that `tensors` describes.

        Raises:
            RunError: a tensor is missing, unknown, or not what these settings and classes need.
        """
        features = tensors["buckets"].numel() if "buckets" in tensors else 0
        rows = _rows(num_classes)
        wanted: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "buckets": (torch.int32, (features,)),
            "weights": (torch.float32, (rows, features)),
            "bias": (torch.float32, (rows,)),
            "fitted_texts": (torch.int64, ()),
        }
        if settings.kind == "tfidf":
            wanted["idf"] = (torch.float32, (features,))
        if set(tensors) != set(wanted):
            raise RunError(
                f"an n-gram model ({settings.kind}) of tensors {', '.join(sorted(tensors))}, "
                f"not {', '.join(sorted(wanted))}",
                remedy=_REMEDY,
            )
        arrays = {}
        for name, (dtype, shape) in wanted.items():
            tensor = tensors[name]
            if tensor.dtype != dtype or tuple(tensor.shape) != shape:
                raise RunError(
                    f"n-gram model: {name} is {_described(tensor.dtype, tuple(tensor.shape))}, "
                    f"not {_described(dtype, shape)}",
                    remedy=_REMEDY,
                )
            if dtype.is_floating_point and not bool(tensor.isfinite().all()):
                raise RunError(f"n-gram model: {name} is not all finite", remedy=_REMEDY)
            arrays[name] = tensor.numpy()
        buckets = arrays["buckets"]
        ascending = bool((np.diff(buckets) > 0).all())
        if features and not (ascending and 0 <= buckets[0] <= buckets[-1] < 2**settings.hash_bits):
            raise RunError(
                "n-gram model: buckets do not ascend or lie out of range", remedy=_REMEDY
            )
        return cls(
            settings=settings,
            num_classes=num_classes,
            buckets=buckets,
            weights=arrays["weights"],
            bias=arrays["bias"],
            idf=arrays.get("idf"),
            fitted_texts=int(arrays["fitted_texts"]),
        )


def _rows(num_classes: int) -> int:
    return 1 if num_classes == 2 else num_classes


def _described(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    return f"{str(dtype).removeprefix('torch.')} of shape {shape}"


def _log_probabilities(
    scores: npt.NDArray[np.float64], num_classes: int
) -> npt.NDArray[np.float32]:
    if num_classes == 2:
        scores = np.concatenate([-scores, scores], axis=1)
    log_sigmoids = -np.logaddexp(0.0, -scores)
    # For two classes the sum is 1 already, and this changes nothing.
    totals = np.logaddexp.reduce(log_sigmoids, axis=1, keepdims=True)
    return (log_sigmoids - totals).astype(np.float32)
