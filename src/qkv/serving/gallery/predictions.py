"""What a run predicted of its test split, from what it saved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qkv.data.dataset import IntArray
from qkv.errors import RunError
from qkv.evaluation.metrics import log_softmax
from qkv.runs import RESULTS, Run


@dataclass(frozen=True)
class SavedPredictions:
    """Truth and prediction of every test example.

    Attributes:
        class_names: the name of each label, in label order.
        labels: int64 (examples,), the true class.
        predicted: int64 (examples,), the class of the largest probability.
        probabilities: float64 (examples, classes).
        version: changes with any of them.
    """

    class_names: tuple[str, ...]
    labels: IntArray
    predicted: IntArray
    probabilities: npt.NDArray[np.float64]
    version: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """The largest probability of each example: float64 (examples,)."""
        largest: npt.NDArray[np.float64] = self.probabilities.max(axis=1)
        return largest

    def ordered(self, indices: IntArray) -> IntArray:
        """Indices by falling confidence; among equals the lower comes first."""
        falling: IntArray = indices[np.argsort(-self.confidence[indices], kind="stable")]
        return falling


def read_predictions(run: Run, class_names: Sequence[str]) -> SavedPredictions | None:
    """The saved predictions of a run; None where it had no test split.

    Raises:
        RunError: the file is damaged, or does not fit the run.
    """
    if not (run.path / RESULTS).is_file():
        return None
    tensors = run.results()
    labels, logits = (tensors[name].numpy() for name in ("test_labels", "test_logits"))
    if logits.shape != (len(labels), len(class_names)):
        raise RunError(
            f"{run.path / RESULTS} has logits of shape {logits.shape} for {len(labels)} labels of "
            f"{len(class_names)} classes",
            remedy="restore the folder",
        )
    return SavedPredictions(
        class_names=tuple(class_names),
        labels=labels,
        # Of the logits themselves, so that rounding cannot make a tie of what was none.
        predicted=logits.argmax(axis=1),
        probabilities=np.exp(log_softmax(logits)),
        version=hashlib.sha256(labels.tobytes() + logits.tobytes()).hexdigest()[:12],
    )
