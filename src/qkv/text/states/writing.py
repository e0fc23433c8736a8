"""States on their way to the disk, beside the encoder that computes more."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from qkv.text.states.disk import unwritable
from qkv.text.states.segment import Entry, write_segment

if TYPE_CHECKING:
    from qkv.text.states.store import StatesStore

LONGEST_LOSS_SECONDS = 60.0


class SegmentWriter:
    """Collects states, and writes a segment when enough, or enough time, has come together.

    A second thread writes, since a disk takes about as long over a segment as it takes the encoder
    to compute a tenth of it. At most one segment waits for it.

    Args:
        store: where they go.
    """

    def __init__(self, store: StatesStore) -> None:
        self._store = store
        self._entries: list[Entry] = []
        self._bytes = 0
        self._since = time.monotonic()
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[Path] | None = None

    def add(self, entry: Entry) -> None:
        """Take the states of one text.

        Raises:
            DataError: a segment could not be written.
        """
        self._entries.append(entry)
        self._bytes += entry.states.bytes
        waited = time.monotonic() - self._since
        if self._bytes >= self._store.segment_bytes or waited > LONGEST_LOSS_SECONDS:
            self._flush()

    def close(self) -> None:
        """Write what there is and wait until it is on the disk.

        Raises:
            DataError: a segment could not be written.
        """
        try:
            self._flush()
            self._settle()
        finally:
            self._pool.shutdown()

    def _flush(self) -> None:
        self._settle()
        entries = self._entries
        self._entries, self._bytes = [], 0
        self._since = time.monotonic()
        if entries:
            store = self._store
            self._writing = self._pool.submit(write_segment, store.folder, store.key, entries)

    def _settle(self) -> None:
        """Wait for the segment that is being written."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except OSError as error:
            # What was collected since would fail too, on the way out.
            self._entries = []
            raise unwritable(self._store.folder, error) from error
