"""A text of which only some words are left."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from qkv.inspection.masked import BoolArray, FloatArray
from qkv.inspection.text.read_text import ReadText
from qkv.inspection.text.words import split_words
from qkv.text.classifier import TextClassifier


class MaskedText:
    """A text in words, any of which can be taken out of it.

    A blank takes the place of a word that goes, so that its neighbours stay apart; what is left is
    read as any text is, by everything that the classifier answers by. Where no word is left it
    reads the empty text, which it does not take from users.

    Args:
        classifier: what answers.
        text: with at least one word.

    Attributes:
        classifier: as given.
        text: as given.
        words: where they stand.

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
        """Probabilities (subsets, classes) of the text with only the kept words.

        Args:
            keep: (subsets, words), True where a word stays. What is asked twice is computed once.
        """
        different, places = np.unique(keep, axis=0, return_inverse=True)
        logits = self.classifier.logits(self.texts(different))
        answers: FloatArray = logits.double().softmax(dim=1).numpy()[places.reshape(-1)]
        return answers

    def _spelt(self, row: list[bool]) -> Iterable[str]:
        for gap, word, kept in zip(self._gaps, self.words, row, strict=False):
            yield gap
            yield word.text if kept else " "
        yield self._gaps[-1]
