"""Predictions of texts: tokenised one by one, computed together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from qkv.errors import DataError
from qkv.serving.predictors.scores import Scores, ScoreWriter, ranked
from qkv.text.classifier import HEAD_BATCH_TOKENS, TextClassifier
from qkv.text.model import predict_inputs
from qkv.text.windows import Prepared, join


@dataclass(frozen=True, eq=False)
class ReadText:
    """A text with what the model reads of it.

    Attributes:
        text: as it was given.
        prepared: its windows of tokens.
        tokens: to compute; those in two windows count twice.
    """

    text: str
    prepared: Prepared
    tokens: int


class TextPredictor:
    """Answers of a text model.

    Args:
        classifier: the model; its encoder is loaded now.

    Attributes:
        unit: what `cost` counts.
        writer: of the model's class names.
        max_tokens: that the model reads of one text.
    """

    unit = "tokens"

    def __init__(self, classifier: TextClassifier) -> None:
        self.classifier = classifier
        self.writer = ScoreWriter(classifier.class_names)
        self._encoder = classifier.reading.encoder
        if classifier.device.type == "cpu":  # others are fast at large blocks alone
            self._encoder.encoder.compute_windows_by_size()
        truncation = self._encoder.settings.truncation
        pieces = truncation.window_pieces(self._encoder.encoder.positions)
        if truncation.kind == "windows":
            step = pieces - truncation.overlap_tokens
            pieces += (truncation.max_windows - 1) * step
        self.max_tokens = pieces + 2

    def read(self, text: str) -> ReadText:
        """Tokenise a text.

        Raises:
            DataError: it is empty.
        """
        if not text.strip():
            raise DataError("the text is empty", remedy="send a text with a word in it")
        prepared = self._encoder.prepare([text])
        return ReadText(text, prepared, prepared.tokens)

    def cost(self, read: ReadText) -> int:
        """Its tokens."""
        return read.tokens

    def compute(self, texts: list[ReadText]) -> list[Scores]:
        """The scores of several texts, in their order; none depends on the others."""
        classifier = self.classifier
        with torch.inference_mode():
            inputs = classifier.reading.prepared_inputs(join([text.prepared for text in texts]))
            logits = predict_inputs(classifier.model, inputs, HEAD_BATCH_TOKENS, classifier.device)
            logits = logits / classifier.temperature
            if classifier.stack is None or classifier.ngrams is None:
                return ranked(logits.softmax(dim=1).numpy())
            neural = logits.log_softmax(dim=1).numpy()
        ngrams = classifier.ngrams.log_probabilities([text.text for text in texts])
        together = classifier.stack.log_probabilities(neural, ngrams)
        return ranked(np.exp(together).astype(np.float32))

    def warm_up(self) -> None:
        """Compute once, so that the first request does not wait for what is set up then."""
        self.compute([self.read("a text"), self.read("another text, longer than the first")])
