"""Which pieces of a text the encoder reads: one window of it, or several that overlap."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from qkv.data.dataset import IntArray
from qkv.errors import RecipeError
from qkv.settings import Settings

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
