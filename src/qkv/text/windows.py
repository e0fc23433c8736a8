"""Which pieces of a text the encoder reads: one window of it, or several that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from qkv.data.dataset import IntArray
from qkv.errors import RecipeError
from qkv.settings import Settings
from qkv.text.tokenizer import Pieces, Tokenizer

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
        """Pieces of a window between its special tokens, for an encoder of so many positions.

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
        name = {"head+tail": "head_tokens", "windows": "overlap_tokens"}.get(self.kind)
        if name is None or getattr(self, name) < room:
            return None
        return f"{name} is {getattr(self, name)}, but must be below the window's {room}"


class Window(NamedTuple):
    """What the encoder reads at once: [CLS], pieces, [SEP], int32 (tokens,).

    The states in `keep` are the text's; those of a text's windows are joined in order.
    """

    input_ids: Pieces
    keep: slice


@dataclass(frozen=True)
class Cut:
    """How many texts lost pieces by truncation, and how many pieces that were."""

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
        pieces: int32 (pieces,), the text without special tokens; none: one window of [CLS] [SEP].
        truncation: what is read.
        positions: tokens that the encoder can read at once.
        cls_id: what stands before a window's pieces.
        sep_id: what stands after them.

    Raises:
        RecipeError: the settings do not fit the positions.
    """
    length, capacity = len(pieces), truncation.window_pieces(positions)
    starts = range(1)
    if truncation.kind == "windows":
        step = capacity - truncation.overlap_tokens
        needed = 1 + max(0, -(-(length - capacity) // step))
        starts = range(0, min(needed, truncation.max_windows) * step, step)
    elif length > capacity:
        head = {"head": capacity, "tail": 0, "head+tail": truncation.head_tokens}[truncation.kind]
        pieces = np.concatenate([pieces[:head], pieces[length - (capacity - head) :]])
    spans = [(start, min(start + capacity, length)) for start in starts]
    joints = [0, *((a + b + 1) // 2 for (_, b), (a, _) in pairwise(spans)), spans[-1][1]]
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
    """What is left out of texts of so many pieces without special tokens, int64 (texts,).

    Raises:
        RecipeError: the settings do not fit the positions.
    """
    capacity = truncation.window_pieces(positions)
    if truncation.kind == "windows":
        capacity += (truncation.max_windows - 1) * (capacity - truncation.overlap_tokens)
    lost = np.maximum(lengths - capacity, 0)
    return Cut(texts=int(np.count_nonzero(lost)), tokens=int(lost.sum()))


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

    ids: Pieces
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

    def window(self, number: int) -> Pieces:
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
    """Tokenise and cut texts, for an encoder that reads so many positions at once.

    Raises:
        RecipeError: the truncation does not fit the positions.
    """
    special = {"cls_id": tokenizer.cls_id, "sep_id": tokenizer.sep_id}
    parts, lengths, keep, first_windows, pieces = [], [0], [], [0], []
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        some: list[Pieces] = []
        for found in tokenizer.encode(texts[first : first + TEXTS_AT_ONCE]):
            windows = cut(found, truncation, positions=positions, **special)
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
        cut=Cut(sum(part.cut.texts for part in parts), sum(part.cut.tokens for part in parts)),
    )
