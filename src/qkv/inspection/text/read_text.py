"""What a text model reads of a text, and of which word each of its tokens is a piece."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qkv.data.dataset import IntArray
from qkv.inspection.explanation import Word
from qkv.inspection.masked import FloatArray
from qkv.inspection.text.words import NO_WORD, split_words, words_of_pieces
from qkv.text.classifier import TextClassifier
from qkv.text.truncation import Pieces, Window, cut


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
        words: IntArray = found[found != NO_WORD]
        return words

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
        sums: FloatArray = np.bincount(
            self.words_of_states[of_word],
            weights=values[of_word].astype(np.float64),
            minlength=len(self.words),
        ).astype(np.float64)
        return sums

    def _cut(self, pieces: Pieces, cls_id: int, sep_id: int) -> list[Window]:
        reader = self._classifier.reading.encoder
        return cut(
            pieces,
            reader.settings.truncation,
            positions=reader.encoder.positions,
            cls_id=cls_id,
            sep_id=sep_id,
        )
