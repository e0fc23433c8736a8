"""Texts that are tokenised and cut into windows, held end to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from qkv.data.dataset import IntArray
from qkv.text.tokens import Tokenizer
from qkv.text.truncation import Cut, TruncationSettings, cut, cut_off

Progress = Callable[[int, int], None]
Ids = npt.NDArray[np.int32]

# Texts of which pieces are held as separate arrays; the rest is kept end to end.
TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class Prepared:
    """Texts as windows of tokens, end to end.

    Attributes:
        ids: int32 (tokens,), all windows with their special tokens, text after text.
        starts: int64 (windows + 1,), where each window begins in `ids`, and the end.
        keep: int64 (windows, 2), the states of each window that belong to its text: from the first
            to before the second, counted from the window's start.
        first_windows: int64 (texts + 1,), where each text begins among the windows, and the end.
        pieces: int64 (texts,), word pieces of each text before anything was cut.
        cut: what was left out.
    """

    ids: Ids
    starts: IntArray
    keep: IntArray
    first_windows: IntArray
    pieces: IntArray
    cut: Cut

    @property
    def tokens(self) -> int:
        """Tokens to compute; those in two windows count twice."""
        return len(self.ids)

    @cached_property
    def rows(self) -> IntArray:
        """States of each text, int64 (texts,)."""
        kept = np.concatenate([[0], np.cumsum(self.keep[:, 1] - self.keep[:, 0])])
        rows: IntArray = np.diff(kept[self.first_windows])
        return rows

    @cached_property
    def lengths(self) -> IntArray:
        """Tokens of each window, int64 (windows,)."""
        lengths: IntArray = np.diff(self.starts)
        return lengths

    @property
    def tokens_of_texts(self) -> IntArray:
        """Tokens to compute for each text, int64 (texts,)."""
        tokens: IntArray = np.diff(self.starts[self.first_windows])
        return tokens

    def window(self, number: int) -> Ids:
        """The tokens of one window."""
        return self.ids[self.starts[number] : self.starts[number + 1]]

    def windows_of(self, text: int) -> IntArray:
        """The windows of one text, in order."""
        return np.arange(self.first_windows[text], self.first_windows[text + 1])


def prepare(
    texts: Sequence[str],
    tokenizer: Tokenizer,
    truncation: TruncationSettings,
    *,
    positions: int,
    progress: Progress | None = None,
) -> Prepared:
    """Tokenise and cut texts.

    Args:
        texts: of any length; an empty one is [CLS] [SEP].
        tokenizer: the encoder's own.
        truncation: what is read.
        positions: tokens that the encoder can read at once.
        progress: called with (done, total) texts.

    Raises:
        RecipeError: the truncation does not fit the positions.
    """
    parts, lengths, keep, first_windows, pieces = [], [0], [], [0], []
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        some: list[Ids] = []
        for found in tokenizer.encode(texts[first : first + TEXTS_AT_ONCE]):
            windows = cut(
                found,
                truncation,
                positions=positions,
                cls_id=tokenizer.cls_id,
                sep_id=tokenizer.sep_id,
            )
            some += [window.input_ids for window in windows]
            keep += [(window.keep.start, window.keep.stop) for window in windows]
            first_windows.append(first_windows[-1] + len(windows))
            pieces.append(len(found))
        lengths += [len(ids) for ids in some]
        parts.append(np.concatenate(some))
        if progress:
            progress(min(first + TEXTS_AT_ONCE, len(texts)), len(texts))
    counted = np.array(pieces, dtype=np.int64)
    return Prepared(
        ids=np.concatenate(parts) if parts else np.empty(0, dtype=np.int32),
        starts=np.cumsum(lengths, dtype=np.int64),
        keep=np.array(keep, dtype=np.int64).reshape(-1, 2),
        first_windows=np.array(first_windows, dtype=np.int64),
        pieces=counted,
        cut=cut_off(counted, truncation, positions=positions),
    )


def join(parts: Sequence[Prepared]) -> Prepared:
    """Texts of several `Prepared` as one, in order; at least one part."""
    windows = [part.lengths for part in parts]
    per_text = [np.diff(part.first_windows) for part in parts]
    zero = np.zeros(1, dtype=np.int64)
    return Prepared(
        ids=np.concatenate([part.ids for part in parts]),
        starts=np.cumsum(np.concatenate([zero, *windows]), dtype=np.int64),
        keep=np.concatenate([part.keep for part in parts]),
        first_windows=np.cumsum(np.concatenate([zero, *per_text]), dtype=np.int64),
        pieces=np.concatenate([part.pieces for part in parts]),
        cut=Cut(
            texts=sum(part.cut.texts for part in parts),
            tokens=sum(part.cut.tokens for part in parts),
        ),
    )
