"""A trained text model that answers for texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qkv.data.dataset import TextSplit
from qkv.errors import DataError
from qkv.predictions import Classifier
from qkv.text.model import Reading, TextModel, predict_inputs
from qkv.text.ngrams import NGramModel
from qkv.text.stacking import Stack

HEAD_BATCH_TOKENS = 16_384


class TextClassifier(Classifier[str, str]):
    """A text model with what it reads, its class names, and how its answers are weighed.

    Args:
        model: the trained model.
        reading: from texts to what the model reads.
        class_names: the name of each label, in label order.
        device: where to compute.
        temperature: what the model's logits are divided by.
        ngrams: the bag-of-n-grams model beside it, if both answer together.
        stack: how both are weighed.
    """

    task = "text"
    model: TextModel

    def __init__(
        self,
        model: TextModel,
        reading: Reading,
        class_names: Sequence[str],
        device: torch.device,
        *,
        temperature: float = 1.0,
        ngrams: NGramModel | None = None,
        stack: Stack | None = None,
    ) -> None:
        super().__init__(model, class_names, device, temperature=temperature)
        self.reading = reading
        self.ngrams = ngrams
        self.stack = stack

    def prepare(self) -> None:
        """Load the encoder."""
        _ = self.reading.encoder

    def name_of(self, source: str, index: int) -> tuple[str, str]:
        """The text itself; in an error `text N`, from 1."""
        return source, f"text {index + 1}"

    def read(self, source: str, *, name: str | None = None) -> str:
        """The text as it is.

        Raises:
            DataError: it is empty, or no text.
        """
        name = "the text" if name is None else name
        if not isinstance(source, str):
            raise DataError(
                f"{name} is {type(source).__name__}, and the model reads texts",
                remedy="give a text",
            )
        if not source.strip():
            raise DataError(f"{name} is empty", remedy="leave it out")
        return source

    def predict_logits(self, split: TextSplit) -> Tensor:
        """Logits of every text of a split, float32 (texts, classes): what probabilities are of."""
        return self.logits(split.texts, from_store=True)

    def neural_logits(self, texts: Sequence[str], *, from_store: bool = False) -> Tensor:
        """Logits of the text model alone, as it was trained: float32 (texts, classes)."""
        parts = [
            predict_inputs(self.model, inputs, HEAD_BATCH_TOKENS, self.device)
            for inputs in self.reading.inputs(texts, from_store=from_store)
        ]
        return torch.cat(parts)

    def logits(self, examples: Sequence[str], *, from_store: bool = False) -> Tensor:
        """What probabilities are of, float32 (texts, classes); of an empty text too."""
        logits = self.neural_logits(examples, from_store=from_store) / self.temperature
        if self.stack is None or self.ngrams is None:
            return logits
        neural = logits.log_softmax(dim=1).numpy()
        together = self.stack.log_probabilities(neural, self.ngrams.log_probabilities(examples))
        return torch.from_numpy(np.asarray(together, dtype=np.float32))
