"""A text of which only some words are left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from qkv.data.dataset import IntArray
from qkv.explanation.faithfulness import BoolArray, FloatArray, MaskedInput
from qkv.explanation.integrated_gradients import log_odds
from qkv.explanation.text_words import ReadText, split_words
from qkv.text.classifier import TextClassifier


class MaskedText:
    """A text in words, any of which can be taken out of it.

    A blank takes the place of a word that goes, so that its neighbours stay apart; the text model
    and the n-grams, if any, read what is left. Where no word is left they read the empty text,
    which is refused from users.

    Raises:
        DataError: the text is empty.
    """

    def __init__(self, classifier: TextClassifier, text: str) -> None:
        self.classifier = classifier
        self.text = text
        self.words = split_words(text)
        # What stands before each word, and behind the last.
        ends = [0, *(word.end for word in self.words)]
        starts = [*(word.start for word in self.words), len(text)]
        self._gaps = [text[end:start] for end, start in zip(ends, starts, strict=True)]

    @property
    def parts(self) -> int:
        """How many words."""
        return len(self.words)

    @cached_property
    def read(self) -> ReadText:
        """The whole text as the text model reads it."""
        return ReadText(self.classifier, self.text)

    def texts(self, keep: BoolArray) -> list[str]:
        """The text with only the kept words, for each row of `keep` (subsets, words)."""
        return ["".join(self._spelt(row)) for row in keep.tolist()]

    def probabilities(self, keep: BoolArray) -> FloatArray:
        """As `MaskedInput` says; subsets that are asked for twice are computed once."""
        different, places = np.unique(keep, axis=0, return_inverse=True)
        logits = self.classifier.logits(self.texts(different))
        return np.asarray(logits.double().softmax(dim=1).numpy()[places.reshape(-1)])

    def _spelt(self, row: list[bool]) -> Iterable[str]:
        for gap, word, kept in zip(self._gaps, self.words, row, strict=False):
            yield gap
            yield word.text if kept else " "
        yield self._gaps[-1]


@dataclass(frozen=True)
class Spans:
    """A partition of parts in their order.

    Attributes:
        bounds: int64 (spans + 1,): span i has the parts from bounds[i] to before bounds[i + 1].
    """

    bounds: IntArray

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> IntArray:
        """Parts of each span."""
        return np.asarray(np.diff(self.bounds))

    @property
    def coarsened(self) -> str | None:
        """What is not told apart, in words; None where each word is a span of its own."""
        words = int(self.bounds[-1])
        if len(self) == words:
            return None
        return f"{words:,} words in {len(self):,} {'span' if len(self) == 1 else 'spans'}"

    @property
    def of_parts(self) -> IntArray:
        """The span of each part."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def all_but_one(self) -> BoolArray:
        """(spans, parts): each row lacks one span."""
        return ~np.eye(len(self), dtype=np.bool_)[:, self.of_parts]

    def shared(self, values: FloatArray) -> FloatArray:
        """One value a span to one a part, in equal shares."""
        return np.asarray((values / self.lengths)[self.of_parts])


def equal_spans(parts: int, most: int) -> Spans:
    """At most `most` spans, at least one, of lengths that differ by at most one."""
    bounds = np.linspace(0, parts, min(max(most, 1), parts) + 1).round().astype(np.int64)
    return Spans(bounds)


class MaskedSpans:
    """An input of which whole spans are taken away."""

    def __init__(self, masked: MaskedInput, spans: Spans) -> None:
        self._masked = masked
        self._spans = spans

    @property
    def parts(self) -> int:
        """How many spans."""
        return len(self._spans)

    def probabilities(self, keep: BoolArray) -> FloatArray:
        """As `MaskedInput` says."""
        return self._masked.probabilities(keep[:, self._spans.of_parts])


UNIT = "log odds"

# Words that the n-grams count again and again, all together: some 0.5 s.
COUNTED_WORDS = 1_000_000


class ClassScore:
    """The log odds that a classifier gives a class of a text, as a function of its text model.

    Where n-grams are stacked with the text model, they are ln p / (1 − p) of the stacked
    probability. For two classes they are a weighted sum of those of the two models,
    `a·z_neural + b·z_ngrams + c`, so that contributions to them add up; for more, each model's part
    is computed with the other's output for the whole text.

    Attributes:
        ngram_spans: the words that `ngram_contributions` takes out together; None without n-grams.
        coarsened: what it does not tell apart for that, in words; None if nothing.
    """

    def __init__(self, masked: MaskedText, label: int) -> None:
        self._classifier = masked.classifier
        self._masked = masked
        self._label = label
        self._ngrams = self._ngram_logs([masked.text])
        self.ngram_spans: Spans | None = None
        self.coarsened: str | None = None
        if self._ngrams is not None:
            self.ngram_spans = equal_spans(masked.parts, COUNTED_WORDS // masked.parts)
            lost = self.ngram_spans.coarsened
            self.coarsened = None if lost is None else f"n-grams: {lost}"

    def log_odds(self, logits: Float[Tensor, "texts classes"]) -> Float[Tensor, " texts"]:
        """Log odds of the class, float64, if the text model gave these logits.

        Differentiable.
        """
        return self._log_odds(logits, self._ngrams)

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


# A method that runs the model on many variants of a text costs their number times what one of them
# costs, and both grow with the text. The number therefore falls for long texts, down to a least;
# from there on the time grows with the text alone.

# Tokens that all variants of a text have together: those of a review of 512 tokens are not reduced.
# At ten thousand tokens a second and core, half a minute.
VARIANT_TOKENS = 300_000
# The same for points of a path, each of which costs about three readings for its gradient.
PATH_TOKENS = 64_000
# What splitting a text and counting its n-grams takes, beside reading a token by an encoder.
WORDS_A_TOKEN = 32
FEWEST_SPANS = 8
FEWEST_STEPS = 4


def bounded_spans(text: MaskedText, most: int, *, variants_a_span: int = 1) -> Spans:
    """Spans of words to take away one by one: at most `most`, fewer of a long text.

    Args:
        text: what is taken apart.
        most: spans of a text of any length.
        variants_a_span: texts that each span costs.
    """
    cost = text.read.tokens + text.parts // WORDS_A_TOKEN
    affordable = VARIANT_TOKENS // (cost * variants_a_span)
    return equal_spans(text.parts, min(most, max(affordable, FEWEST_SPANS)))


def bounded_steps(text: MaskedText, most: int) -> int:
    """Points of a path to the text: `most`, fewer of a long one."""
    return min(most, max(PATH_TOKENS // text.read.tokens, FEWEST_STEPS))
