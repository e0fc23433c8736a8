"""A trained text model that answers for texts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qkv.data.dataset import TextSplit
from qkv.errors import DataError
from qkv.predictions import FailedInput, Prediction
from qkv.text.model import Reading, TextModel, predict_inputs
from qkv.text.ngrams import NGramModel
from qkv.text.stack import Stack

HEAD_BATCH_TOKENS = 16_384


class TextClassifier:
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
        self.model = model.to(device).eval()
        self.reading = reading
        self.class_names = tuple(class_names)
        self.device = device
        self.temperature = temperature
        self.ngrams = ngrams
        self.stack = stack

    def predict(self, texts: Sequence[str], *, batch_size: int = 256) -> list[Prediction]:
        """One prediction a text.

        Raises:
            DataError: a text is empty.
        """
        answers = []
        for answer in self.predict_each(texts, batch_size=batch_size):
            if isinstance(answer, FailedInput):
                raise DataError(answer.error, remedy="leave it out")
            answers.append(answer)
        return answers

    def predict_proba(
        self, texts: Sequence[str], *, batch_size: int = 256
    ) -> npt.NDArray[np.float32]:
        """Probabilities (texts, classes), float32, classes in the order of `class_names`.

        Raises:
            DataError: a text is empty.
        """
        rows = [
            list(answer.probabilities.values())
            for answer in self.predict(texts, batch_size=batch_size)
        ]
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(self.class_names))

    def predict_each(
        self, texts: Iterable[str], *, names: Iterable[str] | None = None, batch_size: int = 256
    ) -> Iterator[Prediction | FailedInput]:
        """Answers in the order of the texts; an empty one does not stop the others.

        Args:
            texts: what to classify.
            names: what each is called in its answer; the text itself if None.
            batch_size: texts computed together; an answer does not depend on it.
        """
        called = itertools.repeat(None) if names is None else names
        numbered = enumerate(zip(called, texts, strict=names is not None), start=1)
        while batch := list(itertools.islice(numbered, batch_size)):
            filled = [text for _, (_, text) in batch if text.strip()]
            probabilities = iter(self.logits(filled).softmax(dim=1).numpy() if filled else ())
            for number, (name, text) in batch:
                if text.strip():
                    yield self._prediction(text if name is None else name, next(probabilities))
                else:
                    name = name or f"text {number}"
                    yield FailedInput(name, f"{name} is empty")

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

    def logits(self, texts: Sequence[str], *, from_store: bool = False) -> Tensor:
        """What probabilities are of, float32 (texts, classes); of an empty text too."""
        logits = self.neural_logits(texts, from_store=from_store) / self.temperature
        if self.stack is None or self.ngrams is None:
            return logits
        neural = logits.log_softmax(dim=1).numpy()
        together = self.stack.log_probabilities(neural, self.ngrams.log_probabilities(texts))
        return torch.from_numpy(np.asarray(together, dtype=np.float32))

    def _prediction(self, name: str, probabilities: npt.NDArray[np.float32]) -> Prediction:
        top = int(probabilities.argmax())
        named = dict(zip(self.class_names, map(float, probabilities), strict=True))
        return Prediction(name, self.class_names[top], float(probabilities[top]), named)
