"""Which pieces of a text the encoder reads: one window of it, or several that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from qkv.data.dataset import IntArray
from qkv.errors import RecipeError
from qkv.settings import Settings
from qkv.text.tokenizer import Tokenizer

Pieces = npt.NDArray[np.int32]
Span = tuple[int, int]

SPECIAL_TOKENS = 2


class TruncationSettings(Settings):
    """What becomes of a text that is longer than the encoder can read at once."""

    kind: Literal["head", "tail", "head+tail", "windows"] = "head"
    """Read the beginning, the end, both, or the whole in overlapping windows."""
    max_tokens: int | None = Field(default=None, ge=SPECIAL_TOKENS + 1)
    """Tokens of one window with its two special tokens; none: the encoder's positions."""
    head_tokens: int = Field(default=128, ge=1)
    """Pieces of the beginning that `head+tail` reads; the end gets the rest of the window."""
    overlap_tokens: int = Field(default=128, ge=0)
    """Pieces that two neighbouring `windows` share."""
    max_windows: int = Field(default=8, ge=1)
    """Windows of one text at most; what lies beyond is cut off."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.max_tokens is not None and (problem := self._misfit(self.max_tokens)):
            raise ValueError(problem)
        return self

    def window_pieces(self, positions: int) -> int:
        """Pieces that one window holds between its two special tokens.

        Args:
            positions: tokens that the encoder can read at once.

        Raises:
            RecipeError: a part of the settings is too large for the window.
        """
        tokens = positions if self.max_tokens is None else self.max_tokens
        if tokens > positions:
            raise RecipeError(
                f"truncation.max_tokens is {tokens}, but the encoder reads {positions} at once",
                remedy=f"set it to {positions} or less",
            )
        if tokens <= SPECIAL_TOKENS:
            raise RecipeError(
                f"the encoder reads {positions} tokens at once, two of them special",
                remedy="choose another encoder",
            )
        if problem := self._misfit(tokens):
            raise RecipeError(f"truncation.{problem}", remedy="set it lower")
        return tokens - SPECIAL_TOKENS

    def _misfit(self, tokens: int) -> str | None:
        room = tokens - SPECIAL_TOKENS
        if self.kind == "head+tail" and self.head_tokens >= room:
            return f"head_tokens is {self.head_tokens}, but must be below the window's {room}"
        if self.kind == "windows" and self.overlap_tokens >= room:
            return f"overlap_tokens is {self.overlap_tokens}, but must be below the window's {room}"
        return None


@dataclass(frozen=True)
class Window:
    """What the encoder reads at once.

    Attributes:
        input_ids: int32 (tokens,), [CLS], pieces, [SEP].
        keep: which of its states belong to the text's states; those of a text's windows are
            joined in order.
    """

    input_ids: Pieces
    keep: slice


@dataclass(frozen=True)
class Cut:
    """What truncation leaves out.

    Attributes:
        texts: how many texts lost pieces.
        tokens: how many pieces they lost.
    """

    texts: int
    tokens: int


def cut(
    pieces: Pieces, truncation: TruncationSettings, *, positions: int, cls_id: int, sep_id: int
) -> list[Window]:
    """The windows of one text.

    `head`, `tail` and `head+tail` give one window, all of whose states are kept; head+tail joins
    the two ends without a mark (Sun, Qiu, Xu and Huang 2019, 128 pieces and 382). `windows` gives
    several if need be. A piece in two of them gets its state from the window in which it has more
    context on its poorer side, so the joint lies in the middle of what they share. The first
    window keeps its [CLS], the last its [SEP]: a text has as many states as pieces read, plus two.

    Args:
        pieces: int32 (pieces,), the text without special tokens.
        truncation: what is read.
        positions: tokens that the encoder can read at once.
        cls_id: what stands before a window's pieces.
        sep_id: what stands after them.

    Returns:
        At least one window; an empty text has one of [CLS] [SEP].

    Raises:
        RecipeError: the settings do not fit the positions.
    """
    capacity = truncation.window_pieces(positions)
    if truncation.kind == "windows":
        spans = _windows(len(pieces), capacity, truncation)
        joints = [0, *((a + b + 1) // 2 for (_, b), (a, _) in pairwise(spans)), spans[-1][1]]
    else:
        spans = [(0, min(len(pieces), capacity))]
        joints = [0, spans[0][1]]
        pieces = _one_window(pieces, capacity, truncation)
    windows = []
    for number, (start, stop) in enumerate(spans):
        ids = np.empty(stop - start + SPECIAL_TOKENS, dtype=np.int32)
        ids[0], ids[1:-1], ids[-1] = cls_id, pieces[start:stop], sep_id
        # States are counted from the window's [CLS], pieces from the window's first.
        first = 0 if number == 0 else joints[number] - start + 1
        last = len(ids) if number == len(spans) - 1 else joints[number + 1] - start + 1
        windows.append(Window(ids, slice(first, last)))
    return windows


def cut_off(lengths: IntArray, truncation: TruncationSettings, *, positions: int) -> Cut:
    """What is left out of texts of these lengths.

    Args:
        lengths: int64 (texts,), pieces of each text without special tokens.
        truncation: what is read.
        positions: tokens that the encoder can read at once.

    Raises:
        RecipeError: the settings do not fit the positions.
    """
    capacity = truncation.window_pieces(positions)
    if truncation.kind == "windows":
        capacity += (truncation.max_windows - 1) * (capacity - truncation.overlap_tokens)
    lost = np.maximum(lengths - capacity, 0)
    return Cut(texts=int(np.count_nonzero(lost)), tokens=int(lost.sum()))


def _one_window(pieces: Pieces, capacity: int, truncation: TruncationSettings) -> Pieces:
    if len(pieces) <= capacity:
        return pieces
    head = {"head": capacity, "tail": 0, "head+tail": truncation.head_tokens}[truncation.kind]
    return np.concatenate([pieces[:head], pieces[len(pieces) - (capacity - head) :]])


def _windows(length: int, capacity: int, truncation: TruncationSettings) -> list[Span]:
    """Where each window begins and ends; the last is as short as what is left."""
    step = capacity - truncation.overlap_tokens
    needed = 1 + max(0, -(-(length - capacity) // step))
    starts = range(0, min(needed, truncation.max_windows) * step, step)
    return [(start, min(start + capacity, length)) for start in starts]


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
) -> Prepared:
    """Tokenise and cut texts.

    Args:
        texts: of any length; an empty one is [CLS] [SEP].
        tokenizer: the encoder's own.
        truncation: what is read.
        positions: tokens that the encoder can read at once.

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
