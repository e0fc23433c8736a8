"""Encoding the texts that a store lacks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

import numpy as np
from torch import Tensor

from qkv.data.dataset import IntArray, text_sha256
from qkv.errors import DataError, RunError
from qkv.runs import replace_file
from qkv.text.states.disk import WRITABLE, size, unwritable
from qkv.text.states.encodes import Encodes, Prepared, Progress
from qkv.text.states.locking import store_lock
from qkv.text.states.packing import pack, row_bytes
from qkv.text.states.segment import TEMPORARY, Entry
from qkv.text.states.writing import SegmentWriter

if TYPE_CHECKING:
    from qkv.text.states.store import StatesStore

FACTS = "facts.json"
PROBE_RUNS, PROBE_RUN_TEXTS = 4, 8


@dataclass(frozen=True)
class Filled:
    """What filling a store took.

    Attributes:
        texts: distinct texts that were encoded.
        tokens: tokens that the encoder computed for them.
        rows: states that were kept.
        seconds: time of it all, waiting for others included.
    """

    texts: int
    tokens: int
    rows: int
    seconds: float


def fill(
    store: StatesStore,
    encoder: Encodes[Prepared],
    texts: Sequence[str],
    *,
    progress: Progress | None,
    tokenising: Progress | None,
) -> Filled:
    """See `StatesStore.fill`."""
    began = time.monotonic()
    # Without a lock, so that a complete store can be used where nothing can be written.
    if not len(store.missing(texts)):
        return Filled(0, 0, 0, time.monotonic() - began)

    def waiting() -> None:
        store.note("another process is encoding for the same states; waiting for it")

    with store_lock(store.root, store.key.name, waiting=waiting):
        lacking = _distinct(texts, store.missing(texts).tolist())
        if not lacking:
            return Filled(0, 0, 0, time.monotonic() - began)
        _make_folder(store)
        job = _Job(store, encoder, lacking, progress, tokenising)
        job.run()
    return Filled(len(lacking), job.total, job.rows, time.monotonic() - began)


class _Job(Generic[Prepared]):
    """One filling, under the store's lock."""

    def __init__(
        self,
        store: StatesStore,
        encoder: Encodes[Prepared],
        texts: Sequence[str],
        progress: Progress | None,
        tokenising: Progress | None,
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._progress = progress
        self._texts = len(texts)
        probe = _probe(texts)
        rest = sorted(set(range(len(texts))) - set(probe))
        self._parts = [[texts[index] for index in part] for part in (probe, rest) if part]
        self._prepared = [encoder.prepare(part, progress=tokenising) for part in self._parts]
        self.rows = sum(int(np.sum(prepared.rows)) for prepared in self._prepared)
        self.total = sum(prepared.tokens for prepared in self._prepared)
        self._writer = SegmentWriter(store)

    def run(self) -> None:
        """Encode and keep: first the probe, then, once its speed is told, the rest."""
        self._store.require_disk(self.rows)
        done = 0
        ahead = f"{self._texts:,} texts to encode, {self.total:,} tokens"
        disk = size(self.rows * row_bytes(self._store.dim, self._store.kind))
        where = f"{disk} in {self._store.folder}"
        if len(self._parts) == 1:
            self._store.note(f"{ahead}; {where}")
        try:
            for part, prepared in zip(self._parts, self._prepared, strict=True):
                began = time.monotonic()
                self._encode(part, prepared, done)
                done += prepared.tokens
                if done < self.total:
                    speed = done / max(time.monotonic() - began, 1e-9)
                    time_left = _roughly((self.total - done) / speed)
                    self._store.note(f"{ahead}: {time_left} at {speed:,.0f} tokens/s; {where}")
        finally:
            # After Ctrl-C too: what has been computed is kept.
            self._writer.close()

    def _encode(self, texts: Sequence[str], prepared: Prepared, before: int) -> None:
        def advance(done: int, _: int) -> None:
            if self._progress:
                self._progress(before + done, self.total)

        pieces: IntArray | None = getattr(prepared, "pieces", None)
        encoded: Iterator[tuple[int, Tensor]] = self._encoder.encode(prepared, progress=advance)
        for index, states in encoded:
            expected = (int(prepared.rows[index]), self._store.dim)
            if tuple(states.shape) != expected:
                raise ValueError(f"states of shape {tuple(states.shape)}, not {expected}")
            count = -1 if pieces is None else int(pieces[index])
            kept = pack(states, self._store.kind)
            self._writer.add(Entry(text_sha256(texts[index]), count, kept))


def _distinct(texts: Sequence[str], indices: Sequence[int]) -> list[str]:
    return list(dict.fromkeys(texts[index] for index in indices))


def _probe(texts: Sequence[str]) -> list[int]:
    """A few texts of all lengths, in runs of similar ones as batches will be; of few texts, none.

    Letters stand for tokens, which are not counted yet.
    """
    count = PROBE_RUNS * PROBE_RUN_TEXTS
    if len(texts) < 4 * count:
        return []
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    step = len(texts) // PROBE_RUNS
    starts = range(step // 2, len(texts), step)
    runs = (
        order[start : start + PROBE_RUN_TEXTS] for start in itertools.islice(starts, PROBE_RUNS)
    )
    return list(itertools.chain.from_iterable(runs))


def _make_folder(store: StatesStore) -> None:
    """The store's folder, its facts, and no leavings of a process that was killed."""
    folder = store.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leaving in folder.glob(f".*{TEMPORARY}"):
            leaving.unlink(missing_ok=True)
        facts = folder / FACTS
        current = None
        with suppress(FileNotFoundError):
            current = facts.read_bytes()
        if current != (wanted := store.key.document.encode()):
            if current is not None:
                store.note(f"{facts} was damaged and is written again")
            replace_file(facts, wanted)
    except OSError as error:
        raise unwritable(folder, error) from None
    except RunError as error:
        raise DataError(error.problem, remedy=WRITABLE) from None


def _roughly(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"
