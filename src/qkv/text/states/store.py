"""A store of states: which texts it lacks, filling it, and reading it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qkv.data.dataset import IntArray, text_sha256
from qkv.errors import DataError
from qkv.text.states import disk
from qkv.text.states.encodes import Encodes, Prepared, Progress
from qkv.text.states.fill import Filled, fill
from qkv.text.states.keys import Kind, StoreKey, canonical, states_root
from qkv.text.states.reader import StatesReader
from qkv.text.states.table import Located, SegmentTable
from qkv.text.states.verified import Verified

SEGMENT_BYTES = 64 * 2**20
WORTH_A_WORD_BYTES = 10**9  # takes a second or more to hash


class StatesStore:
    """States of texts under one key; `open_store` makes it.

    Attributes:
        key: what the states are a function of, beside the text.
        root: the folder of all stores.
        folder: this store; it exists once it holds something.
        segment_bytes: a segment is finished when it has grown to this size.
        note: takes a remark for the user, such as a file that was found damaged.
    """

    def __init__(
        self, key: StoreKey, root: Path, *, segment_bytes: int, note: Callable[[str], None]
    ) -> None:
        self.key = key
        self.root = root
        self.folder = root / key.name
        self.segment_bytes = segment_bytes
        self.note = note
        self._table = SegmentTable(self.folder, key, lambda remark: self.note(remark))
        self._verified = Verified(self.folder)

    @property
    def dim(self) -> int:
        """Width of a state."""
        return self.key.dim

    @property
    def kind(self) -> Kind:
        """How an entry is kept."""
        return self.key.kind

    def locate(self, texts: Sequence[str]) -> Located:
        """Where the states of `texts` are, after the files that hold them have been checked.

        A file that fails is set aside with a note, and its texts count as missing. A file that was
        checked before and has not changed since is not hashed again (see `verified`).

        Raises:
            DataError: a file cannot be read.
        """
        hashes = [text_sha256(text) for text in texts]
        while True:
            self._table.refresh()
            located = self._table.locate(hashes)
            unchecked = self._verified.unknown_bytes(located.segments)
            if unchecked > WORTH_A_WORD_BYTES:
                self.note(f"checking {disk.size(unchecked)} of states against their digests")
            failures = self._verified.failures(located.segments)
            if not failures:
                return located
            for segment, error in failures:
                self._table.reject(segment, error)

    def missing(self, texts: Sequence[str]) -> IntArray:
        """Indices of those `texts` whose states are not there, or not intact.

        Raises:
            DataError: a file cannot be read.
        """
        return self.locate(texts).missing

    def require_disk(self, rows: int) -> None:
        """See that the disk can take the states of `rows` more tokens.

        Raises:
            DataError: it cannot; says what is needed, what is free, and where.
        """
        disk.require(self.root, self.key, rows)

    def fill(
        self,
        encoder: Encodes[Prepared],
        texts: Sequence[str],
        *,
        progress: Progress | None = None,
        tokenising: Progress | None = None,
        note: Callable[[str], None] | None = None,
    ) -> Filled:
        """Encode those `texts` whose states are missing, each distinct one once.

        Finished segments stay whatever happens, so a call after an interruption goes on from
        there. If another process fills the same store it is waited for, and what it has done is
        not done again.

        Args:
            encoder: the encoder that the store's facts describe.
            texts: all that must be there in the end.
            progress: called with (done, total) tokens while they are encoded.
            tokenising: called with (done, total) texts before that.
            note: takes remarks from now on: what is ahead (tokens, minutes, disk), waiting for
                another process, damage. None: whoever took them before.

        Raises:
            DataError: the disk lacks room, the store cannot be written, or a state is not finite.
            ValueError: `encoder` is another one than the store's.
        """
        facts, dim = encoder.facts, encoder.dim
        if StoreKey.of(facts, dim, self.kind) != self.key:
            raise ValueError(f"{canonical(facts)} of width {dim} is not what {self.folder} is for")
        self.note = note or self.note
        return fill(self, encoder, texts, progress=progress, tokenising=tokenising)

    def reader(self, texts: Sequence[str]) -> StatesReader:
        """What reads the states of `texts`, in that order.

        Raises:
            DataError: some have no states: the store must be filled first.
        """
        located = self.locate(texts)
        lacking = len(located.missing)
        if lacking:
            raise DataError(
                f"{self.folder} lacks the states of {lacking:,} of {len(texts):,} texts",
                remedy="run again to have them encoded",
            )
        with suppress(OSError):  # a cache that cannot be written can be read
            os.utime(self.folder)
        return StatesReader(located, self.dim, self.kind)


def open_store(
    facts: Mapping[str, Any],
    dim: int,
    *,
    kind: Kind = "float16",
    root: Path | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    note: Callable[[str], None] | None = None,
) -> StatesStore:
    """The store of states that are a function of a text and of `facts`; nothing is made yet.

    Args:
        facts: JSON values: encoder weights, tokenizer, layers, truncation, precision.
        dim: width of a state.
        kind: "float16", or "int8" with a scale for each token: half the disk, and an error of at
            most 1/254 of the greatest entry of the token's state.
        root: the folder of all stores; by default `states` in the cache.
        segment_bytes: size at which a file of states is finished.
        note: takes remarks for the user.
    """
    return StatesStore(
        StoreKey.of(facts, dim, kind),
        root or states_root(),
        segment_bytes=segment_bytes,
        note=note or (lambda _: None),
    )
