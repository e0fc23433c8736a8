"""What the training loop needs to know of a task: its batches, its model and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from qkv.data.dataset import IntArray

SplitName = Literal["validation", "test"]


@dataclass(frozen=True)
class StepOutcome:
    """What one training batch gave.

    Attributes:
        loss: scalar to differentiate, the mean over the batch.
        correct: scalar count of examples classified correctly.
        examples: examples in the batch.
    """

    loss: Tensor
    correct: Tensor
    examples: int


@dataclass(frozen=True)
class Predictions:
    """Logits of a whole split beside its labels.

    Attributes:
        logits: float32 (examples, classes).
        labels: int64 (examples,).
    """

    logits: npt.NDArray[np.float32]
    labels: IntArray

    @property
    def loss(self) -> float:
        """Mean negative log likelihood in nats, averaged over examples."""
        logits = self.logits.astype(np.float64)
        top = logits.max(axis=1, keepdims=True)
        log_normaliser = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
        chosen = logits[np.arange(len(logits)), self.labels]
        return float((log_normaliser - chosen).mean())

    @property
    def accuracy(self) -> float:
        """Share of examples whose largest logit is at their label."""
        return float((self.logits.argmax(axis=1) == self.labels).mean())


class Task(Protocol):
    """A model, the examples it learns from, and how wrong it is on a batch of them."""

    @property
    def model(self) -> nn.Module:
        """The model that is fitted."""
        ...

    @property
    def unit(self) -> str:
        """What an example is, in the plural: images, texts."""
        ...

    @property
    def train_examples(self) -> int:
        """Examples in the training split."""
        ...

    def epoch_batches(self, order: IntArray) -> Sequence[IntArray]:
        """The examples of an epoch, shuffled as `order`, cut into batches."""
        ...

    def train_step(self, model: nn.Module, indices: IntArray) -> StepOutcome:
        """Loss of `model` (the task's own, perhaps compiled) on the examples at `indices`."""
        ...

    def split_examples(self, split: SplitName) -> int:
        """How many examples a split has; 0 if there is no such split."""
        ...

    def predict_split(self, model: nn.Module, split: SplitName) -> Predictions:
        """Logits of `model`, in evaluation mode, for every example of a split."""
        ...
