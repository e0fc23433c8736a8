"""Which segments have been hashed since they last changed, and the hashing of the others.

Hashing 5 GB takes seconds, so a file that matched its digest is not hashed again while the system
says that it is the same: same inode, size, time of last writing and time of last change (which no
program can set back). Two things that this cannot see are provided for:

- A change in the same tick of the file system's clock as the one before leaves the times as they
  were. So a file is remembered only if it was last changed some seconds before it was hashed.
- A disk that loses bits by itself changes no time. So after some days a file is hashed again.

What remains is decay within those days, on a disk whose own checks miss it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from qkv.errors import DataError, RunError
from qkv.runs import replace_file
from qkv.text.states.segment import Segment, check_rows

VERIFIED = "verified.json"
SETTLED_SECONDS = 2.0
TRUST_SECONDS = 7 * 24 * 3600.0
MAX_THREADS = 4  # hashlib lets go of the interpreter; more would only wait for the disk

_Mark = tuple[int, int, int, int]


class Verified:
    """The memory of one store's folder, in `verified.json`; whatever is wrong with it is forgotten.

    Args:
        folder: the store.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / VERIFIED
        self._marks: dict[str, tuple[_Mark, float]] | None = None

    def failures(self, segments: Iterable[Segment]) -> list[tuple[Segment, DataError | OSError]]:
        """Hash the states of those segments that must be; what is wrong with which."""
        began = time.time()
        unknown = [segment for segment in segments if not self._knows(segment, began)]
        if not unknown:
            return []
        threads = min(MAX_THREADS, os.cpu_count() or 1, len(unknown))
        with ThreadPoolExecutor(threads) as pool:
            try:
                errors = list(pool.map(_error_of, unknown))
            except BaseException:
                # Ctrl-C must not wait for gigabytes.
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self._remember([s for s, e in zip(unknown, errors, strict=True) if e is None], began)
        return [(s, e) for s, e in zip(unknown, errors, strict=True) if e is not None]

    def unknown_bytes(self, segments: Iterable[Segment]) -> int:
        """What `failures` will have to read."""
        now = time.time()
        return sum(s.stat.st_size for s in segments if not self._knows(s, now))

    def _knows(self, segment: Segment, now: float) -> bool:
        known = self._known().get(segment.path.name)
        if known is None:
            return False
        mark, verified_at = known
        return mark == _mark(segment.stat) and 0 <= now - verified_at < TRUST_SECONDS

    def _known(self) -> dict[str, tuple[_Mark, float]]:
        if self._marks is None:
            self._marks = _read(self._path)
        return self._marks

    def _remember(self, segments: Iterable[Segment], began: float) -> None:
        settled = [s for s in segments if began - _last_change(s.stat) > SETTLED_SECONDS]
        if not settled:
            return
        # Another process may have added to the file; and what is gone need not be remembered.
        marks = {**_read(self._path), **self._known()}
        marks.update((s.path.name, (_mark(s.stat), began)) for s in settled)
        self._marks = {n: m for n, m in marks.items() if (self._path.parent / n).exists()}
        document = {name: [*mark, at] for name, (mark, at) in self._marks.items()}
        with suppress(RunError):  # where nothing can be written, the next run hashes again
            replace_file(self._path, json.dumps(document).encode())


def _error_of(segment: Segment) -> DataError | OSError | None:
    try:
        check_rows(segment)
    except (DataError, OSError) as error:
        return error
    return None


def _mark(stat: os.stat_result) -> _Mark:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _last_change(stat: os.stat_result) -> float:
    return max(stat.st_mtime, stat.st_ctime)


def _read(path: Path) -> dict[str, tuple[_Mark, float]]:
    try:
        document = json.loads(path.read_bytes())
        return {
            name: ((int(inode), int(size), int(modified), int(changed)), float(at))
            for name, (inode, size, modified, changed, at) in document.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}
