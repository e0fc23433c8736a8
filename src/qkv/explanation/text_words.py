"""The words of a text where they stand, and which of an encoder's pieces make up each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qkv.data.dataset import IntArray
from qkv.errors import DataError
from qkv.explanation.explanation import Word
from qkv.explanation.faithfulness import FloatArray
from qkv.text.classifier import TextClassifier
from qkv.text.tokenizer import Pieces
from qkv.text.windows import Window, cut

NO_WORD = -1

# Kana and Chinese characters: written without spaces, so each is taken for a word of its own.
_ALONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W{_ALONE}]"
# Punctuation is apart, for "!" and ")" are read apart; but "don't", "well-made", "8/10" and "3.5"
# are one word to a reader, as is a mark such as "<br />", and so are "..." and "?!".
_WORD = re.compile(
    rf"</?[A-Za-z][A-Za-z0-9]*\s*/?>|{_LETTER}+(?:['’/.-]{_LETTER}+)*|[{_ALONE}]|[^\w\s<]+|<"
)


def split_words(text: str) -> tuple[Word, ...]:
    """The words of a text, in order.

    Every visible character belongs to exactly one; between two words stands white space or nothing.
    Runs of letters and digits are words, with an apostrophe, hyphen, stroke or dot between two of
    them; so are runs of other marks, tags without attributes, single Chinese characters and kana.

    Raises:
        DataError: there is none.
    """
    words = tuple(Word(m.group(), m.start(), m.end()) for m in _WORD.finditer(text))
    if not words:
        raise DataError("the text is empty", remedy="give at least one word")
    return words


def words_of_pieces(words: tuple[Word, ...], offsets: IntArray) -> IntArray:
    """The word of each piece, int64 (pieces,): the first that it has a character of.

    Args:
        words: in order.
        offsets: int64 (pieces, 2), where each piece lies in the text.

    Returns:
        Indices into `words`; −1 for a piece of white space or of nothing.
    """
    ends = np.array([word.end for word in words], dtype=np.int64)
    starts = np.array([word.start for word in words], dtype=np.int64)
    found = np.searchsorted(ends, offsets[:, 0], side="right")
    inside = np.minimum(found, len(words) - 1)
    some = offsets[:, 0] < offsets[:, 1]
    touches = some & (found < len(words)) & (starts[inside] < offsets[:, 1])
    return np.where(touches, inside, NO_WORD)


@dataclass(frozen=True)
class ReadWindow:
    """What the encoder reads at once.

    Attributes:
        input_ids: int32 (tokens,), with special tokens.
        words: int64 (tokens,), the word of each; −1 for special tokens.
        keep: which states belong to the text's states.
    """

    input_ids: Pieces
    words: IntArray
    keep: slice


class ReadText:
    """A text as a classifier's text model reads it.

    Args:
        classifier: whose model it is.
        text: with at least one word.

    Attributes:
        text: as given.
        words: of the whole text.
        windows: what its encoder reads.

    Raises:
        DataError: the text is empty.
    """

    def __init__(self, classifier: TextClassifier, text: str) -> None:
        self.text = text
        self.words: tuple[Word, ...] = split_words(text)
        self._classifier = classifier
        reader = classifier.reading.encoder
        pieces, offsets = reader.tokenizer.encode_with_offsets(text)
        word_of_piece = np.append(words_of_pieces(self.words, offsets), NO_WORD)
        # The same cut of the pieces' numbers says which piece stands where; −1 is the word of none.
        numbers = np.arange(len(pieces), dtype=np.int32)
        self.windows = tuple(
            ReadWindow(read.input_ids, word_of_piece[places.input_ids], read.keep)
            for read, places in zip(
                self._cut(pieces, reader.tokenizer.cls_id, reader.tokenizer.sep_id),
                self._cut(numbers, NO_WORD, NO_WORD),
                strict=True,
            )
        )

    @property
    def tokens(self) -> int:
        """Tokens that the encoder reads, those in two windows twice."""
        return sum(len(window.input_ids) for window in self.windows)

    @cached_property
    def words_of_states(self) -> IntArray:
        """The word of each state that the head reads, int64 (states,); −1 for special tokens."""
        return np.concatenate([window.words[window.keep] for window in self.windows])

    @cached_property
    def words_read(self) -> IntArray:
        """Indices of the words of which the text model reads a piece, ascending."""
        found = np.unique(self.words_of_states)
        return np.asarray(found[found != NO_WORD])

    def inputs(self) -> tuple[Tensor, Tensor]:
        """What the text model is given: states (1, tokens, dim) or ids (1, tokens), and a mask."""
        (inputs,) = self._classifier.reading.inputs([self.text])
        values, mask = inputs.padded(np.zeros(1, dtype=np.int64))
        device = self._classifier.device
        return values.to(device), mask.to(device)

    @torch.no_grad()
    def states(self) -> tuple[Tensor, Tensor]:
        """What the head reads, (1, states, dim), and its mask."""
        values, mask = self.inputs()
        top = self._classifier.model.top
        return (values if top is None else top(values, mask)), mask

    def by_word(self, values: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Sums of one value a state, (states,), over the states of each word, (words,)."""
        of_word = self.words_of_states != NO_WORD
        words, shares = self.words_of_states[of_word], values[of_word].astype(np.float64)
        return np.bincount(words, weights=shares, minlength=len(self.words)).astype(np.float64)

    def _cut(self, pieces: Pieces, cls_id: int, sep_id: int) -> list[Window]:
        reader = self._classifier.reading.encoder
        return cut(
            pieces,
            reader.settings.truncation,
            positions=reader.encoder.positions,
            cls_id=cls_id,
            sep_id=sep_id,
        )
