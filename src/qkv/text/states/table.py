"""Where the states of each text are, over all segments of a store."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qkv.data.dataset import IntArray
from qkv.errors import DataError
from qkv.text.states.keys import StoreKey
from qkv.text.states.segment import SUFFIX, Segment, read_segment

DAMAGED = ".damaged"


@dataclass(frozen=True)
class Located:
    """Where the states of some texts are.

    Attributes:
        segments: those that hold any of them.
        segment: int64 (texts,), an index into `segments`; −1 where a text has no states yet.
        start: int64 (texts,), the row of the segment at which a text begins.
        length: int64 (texts,), its rows; 0 where it has none yet.
        pieces: int64 (texts,), its word pieces before any were cut off; −1 where not known.
    """

    segments: tuple[Segment, ...]
    segment: IntArray
    start: IntArray
    length: IntArray
    pieces: IntArray

    @property
    def missing(self) -> IntArray:
        """Indices of the texts that have no states yet."""
        return np.flatnonzero(self.segment < 0)


class SegmentTable:
    """The segments of one folder, by the texts that they hold; damaged ones are set aside.

    Args:
        folder: the store; it may not exist yet.
        key: what its segments must be for.
        note: takes a remark for the user.
    """

    def __init__(self, folder: Path, key: StoreKey, note: Callable[[str], None]) -> None:
        self._folder = folder
        self._key = key
        self._note = note
        self._segments: dict[str, Segment] = {}
        self._rejected: dict[str, int] = {}
        self._places: dict[bytes, tuple[str, int]] | None = None

    def refresh(self) -> None:
        """Take in what other processes have added, changed or removed."""
        found = _stats(self._folder)
        for name, stat in found.items():
            known = self._segments.get(name)
            if known is not None and _same(known.stat, stat):
                continue
            self._forget(name)
            if self._rejected.get(name) != stat.st_mtime_ns:
                self._add(self._folder / name)
        for name in self._segments.keys() - found.keys():
            self._forget(name)

    def locate(self, hashes: Sequence[bytes]) -> Located:
        """Where the texts with these hashes are."""
        places = self._index()
        used: dict[str, int] = {}
        columns = np.zeros((4, len(hashes)), dtype=np.int64)
        columns[[0, 3]] = -1
        for index, text in enumerate(hashes):
            place = places.get(text)
            if place is not None:
                name, position = place
                segment = self._segments[name]
                number = used.setdefault(name, len(used))
                columns[:, index] = (
                    number,
                    segment.starts[position],
                    segment.lengths[position],
                    segment.pieces[position],
                )
        return Located(tuple(self._segments[name] for name in used), *columns)

    def reject(self, segment: Segment, error: DataError | OSError) -> None:
        """Put a damaged segment out of the way and say so; its texts count as missing.

        Raises:
            DataError: it could not be read, which is no proof that it is damaged.
        """
        self._forget(segment.path.name)
        with suppress(FileNotFoundError):
            # Another process may have put a new one in its place meanwhile.
            if _same(segment.stat, segment.path.stat()):
                self._set_aside(segment.path, error)

    def _add(self, path: Path) -> None:
        try:
            segment = read_segment(path, self._key)
        except (DataError, OSError) as error:
            self._set_aside(path, error)
            return
        self._segments[path.name] = segment
        self._places = None

    def _forget(self, name: str) -> None:
        if self._segments.pop(name, None) is not None:
            self._places = None

    def _index(self) -> dict[bytes, tuple[str, int]]:
        if self._places is None:
            self._places = {
                text: (name, position)
                for name, segment in self._segments.items()
                for position, text in enumerate(segment.hashes)
            }
        return self._places

    def _set_aside(self, path: Path, error: DataError | OSError) -> None:
        if isinstance(error, FileNotFoundError):
            return  # cleared since it was listed
        # A sector that cannot be read is damage; too many open files or a lacking right is not.
        if isinstance(error, OSError) and error.errno != errno.EIO:
            raise _unreadable(path, error) from error
        problem = error.problem if isinstance(error, DataError) else f"{path} cannot be read"
        aside = path.with_name(path.name + DAMAGED)
        try:
            # If it cannot be moved, it is passed over for as long as it stays the same.
            self._rejected[path.name] = path.stat().st_mtime_ns
            path.replace(aside)
        except FileNotFoundError:
            return
        except OSError:
            done = "passed over"
        else:
            done = f"set aside as {aside.name}"
        self._note(f"{problem}; {done}, and its texts are encoded again")


def _stats(folder: Path) -> dict[str, os.stat_result]:
    """The segments of a folder as they are now, in the order of names."""
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        found[entry.name] = entry.stat(follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _unreadable(folder, error) from error
    return dict(sorted(found.items()))


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be read: {error.strerror or error}",
        remedy="make it readable, or set QKV_CACHE to another folder",
    )


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) == (
        other.st_ino,
        other.st_size,
        other.st_mtime_ns,
        other.st_ctime_ns,
    )
