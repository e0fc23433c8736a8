"""The answer of a text classifier as one number that can be divided among words: log odds."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from qkv.inspection.log_odds import log_odds
from qkv.inspection.masked import FloatArray
from qkv.inspection.text.masked import MaskedText
from qkv.inspection.text.spans import Spans, equal_spans

UNIT = "log odds"

# Words that the n-grams count again and again, all together: some 0.5 s.
COUNTED_WORDS = 1_000_000


class Answer:
    """What a classifier answers for a text, as a function of what its text model says.

    The log odds of a class are ln p / (1 − p) of the probability that the classifier gives it, by
    both models where n-grams answer beside the text model. For two classes these log odds are the
    sum of what either model says, `a·z_neural + b·z_ngrams + c`, so that contributions to them add
    up; for more, each model's part is taken with the other's at what it says of the whole text.

    Args:
        masked: the text, and whose answer.
        label: the class.
    """

    def __init__(self, masked: MaskedText, label: int) -> None:
        self._classifier = masked.classifier
        self._masked = masked
        self._label = label
        self._ngrams = self._ngram_logs([masked.text])

    def log_odds(self, logits: Float[Tensor, "texts classes"]) -> Float[Tensor, " texts"]:
        """Log odds of the class, float64, if the text model gave these logits.

        Differentiable.
        """
        return self._log_odds(logits, self._ngrams)

    @property
    def ngram_spans(self) -> Spans | None:
        """The words that `ngram_contributions` takes out together; None without n-grams."""
        parts = self._masked.parts
        return None if self._ngrams is None else equal_spans(parts, COUNTED_WORDS // parts)

    @property
    def coarsened(self) -> str | None:
        """What `ngram_contributions` does not tell apart, in words; None if nothing."""
        lost = None if self.ngram_spans is None else self.ngram_spans.coarsened
        return None if lost is None else f"n-grams: {lost}"

    def ngram_contributions(self) -> FloatArray:
        """What the log odds lose when the n-grams miss a word, (words,); 0 without n-grams.

        Words of a text of more than some thousand are taken out together with their neighbours.
        """
        masked, spans = self._masked, self.ngram_spans
        if spans is None:
            return np.zeros(masked.parts)
        with torch.inference_mode():
            logits = self._classifier.neural_logits([masked.text])
            without = self._ngram_logs(masked.texts(spans.all_but_one()))
            assert without is not None
            whole = self._log_odds(logits, self._ngrams)
            left = self._log_odds(logits.expand(len(without), -1), without)
        return spans.shared((whole - left).numpy())

    def _ngram_logs(self, texts: list[str]) -> Tensor | None:
        if self._classifier.stack is None or self._classifier.ngrams is None:
            return None
        return torch.from_numpy(self._classifier.ngrams.log_probabilities(texts)).double()

    def _log_odds(self, logits: Tensor, ngrams: Tensor | None) -> Tensor:
        scores = logits.double() / self._classifier.temperature
        stack = self._classifier.stack
        if stack is not None and ngrams is not None:
            scores = (
                stack.neural_weight * scores.log_softmax(dim=1)
                + stack.ngram_weight * ngrams.to(scores.device)
                + torch.tensor(stack.biases, dtype=scores.dtype, device=scores.device)
            )
        return log_odds(scores, self._label)
