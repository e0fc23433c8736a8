"""Token states of texts, computed once by a frozen encoder and cached on disk.

A cache belongs to everything that determines a state: encoder weights, tokenizer, layers,
truncation, precision, and how entries are kept. In it a text's states are found by the hash of the
text alone, so every run, split and seed that contains the text shares them.

    cache/states/
      NAME-0123456789abcdef/   one cache; the digits are the hash of its facts
        facts.json             the facts, for people and `qkv data cache list`
        states.bin             the states of one text after another (int8: scales, then values)
        index.bin              a record for each text: sha256, place, rows, word pieces, CRC
      locks/NAME-….lock        held by the one process that appends to a cache or clears it

Both files are only ever appended to, a record after its states, so a process can be killed at any
moment. The CRC is that of the facts, the record and the states; it is compared before states are
used, once in a process. What is missing or does not match is encoded again and appended.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import struct
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from qkv.data.dataset import IntArray, text_sha256
from qkv.errors import DataError
from qkv.files import cache_dir, format_bytes, locked, replacing, require_space
from qkv.progress import Progress

if TYPE_CHECKING:
    from qkv.text.text_encoder import TextEncoder

Kind = Literal["float16", "int8"]
"""How an entry is kept: a half, or eight bits and one scale for each token."""

FORMAT = 2
"""Counts up when caches of an earlier version can no longer be read; format 1 had segments."""

FACTS, STATES, INDEX, LOCKS = "facts.json", "states.bin", "index.bin", "locks"
SPARE_BYTES = 256 * 2**20  # stays free, so that the run itself can write
ESTIMATE_AFTER_SECONDS = 3.0
WORTH_A_NOTE_BYTES = 2 * 10**9  # takes seconds to check
_RECORD = struct.Struct("<32sqiiI")


class Packed(NamedTuple):
    """States as they are kept: values (tokens, dim), for int8 with scales float32 (tokens,)."""

    values: npt.NDArray[Any]
    scales: npt.NDArray[np.float32] | None


class _Entry(NamedTuple):
    """A record of the index."""

    text: bytes
    place: int
    rows: int
    pieces: int
    crc: int

    def crc_of(self, document: str, content: bytes) -> int:
        """What `crc` must be, of a cache's facts and of states as they lie on disk."""
        record = _RECORD.pack(*self[:-1], 0)
        return zlib.crc32(content, zlib.crc32(record, zlib.crc32(document.encode())))


def cache_root() -> Path:
    """The folder of all caches; it may not exist yet."""
    return cache_dir() / "states"


def row_bytes(dim: int, kind: Kind) -> int:
    """What one token's state takes on disk."""
    return 2 * dim if kind == "float16" else dim + 4


def pack(states: Float[Tensor, "tokens dim"], kind: Kind) -> Packed:
    """States as they are kept, in memory of their own.

    int8 keeps round(127 x / m) with m the greatest magnitude of the token's state, so an entry is
    off by at most half a scale, m / 254.

    Raises:
        DataError: a state is not finite, or too large for float16.
    """
    wide = states.to(torch.float32)
    values, scales = wide.to(torch.float16), None
    if kind == "int8":
        # A scale below the normal numbers would lose bits itself, and the error its bound.
        scales = (wide.abs().amax(dim=1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        values = torch.round(wide / scales[:, None])
    if not bool(torch.isfinite(values).all()):
        if bool(torch.isfinite(wide).all()):
            raise DataError(
                f"the encoder gives states up to {float(wide.abs().max()):.3g}, beyond float16",
                remedy='keep them with states = "int8"',
            )
        raise DataError(
            "the encoder gives states that are infinite or not numbers",
            remedy='check its weights, or compute in precision "float32"',
        )
    if scales is None:
        return Packed(values.numpy(), None)
    return Packed(values.to(torch.int8).numpy(), scales.numpy())


def unpack(
    values: npt.NDArray[Any], scales: npt.NDArray[np.float32] | None
) -> Float[Tensor, "*batch dim"]:
    """float32 states, in memory of their own, of values (..., dim) and scales (...)."""
    if scales is None:
        return torch.from_numpy(values).to(torch.float32)
    return torch.from_numpy(values) * torch.from_numpy(scales)[..., None]


class EncoderCache:
    """Cached states that are a function of a text and of `facts`; nothing is made until `fill`.

    Args:
        facts: JSON values: encoder weights, tokenizer, layers, truncation, precision; `name` is
            what the encoder is called.
        dim: width of a state.
        kind: how states are kept; int8 takes half the disk.
        root: the folder of all caches; by default `states` in the user's cache.
        note: takes remarks for the user: what is ahead, damage, waiting for another process.
    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        dim: int,
        *,
        kind: Kind = "float16",
        root: Path | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.dim = dim
        self.kind: Kind = kind
        self.root = root or cache_root()
        self.document = _document(facts, dim, kind)
        # What the encoder is called, as a plain name: it may be a path.
        last = re.split(r"[/\\]", str(facts.get("name", "")).rstrip("/\\"))[-1]
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._")[:40] or "encoder"
        digest = hashlib.sha256(self.document.encode()).hexdigest()
        self.folder = self.root / f"{plain}-{digest[:16]}"
        self.note = note or (lambda _: None)
        self._stats: tuple[object, ...] = ()
        self._entries: dict[bytes, _Entry] = {}
        self._intact: dict[_Entry, bool] = {}  # of those that were checked since a file changed

    def missing(self, texts: Sequence[str]) -> IntArray:
        """Indices of the texts whose states are not there, or damaged."""
        return np.flatnonzero([entry is None for entry in self._find(texts)])

    def fill(
        self,
        encoder: TextEncoder,
        texts: Sequence[str],
        *,
        progress: Progress | None = None,
        note: Callable[[str], None] | None = None,
    ) -> int:
        """Encode the texts whose states are missing, each once, and return how many these were.

        A call after an interruption goes on from there; another process that fills the same cache
        is waited for.

        Args:
            encoder: the one that the facts describe.
            texts: all that must be there in the end.
            progress: called with (done, total) tokens.
            note: takes remarks from now on; None: whoever took them before.

        Raises:
            DataError: no room on the disk, nothing can be written, or a state is not finite.
            ValueError: `encoder` is not the one of the facts.
        """
        if _document(encoder.facts, encoder.dim, self.kind) != self.document:
            raise ValueError(f"{encoder.facts} of width {encoder.dim} is not what {self.folder} is")
        self.note = note or self.note
        # Without the lock first, so that a complete cache can be used where nothing can be written.
        if not len(self.missing(texts)):
            return 0

        waiting = "another process is encoding for the same states; waiting for it"
        with ExitStack() as stack:
            with writing(self.folder):
                lock = locked(lock_path(self.folder), waiting=lambda: self.note(waiting))
                stack.enter_context(lock)
            # Another process may have encoded some of them meanwhile.
            lacking = list(dict.fromkeys(texts[index] for index in self.missing(texts)))
            if lacking:
                self._append(encoder, lacking, progress)
            return len(lacking)

    def reader(self, texts: Sequence[str]) -> CachedStates:
        """The states of `texts`, in that order.

        Raises:
            DataError: some are missing: the cache must be filled first.
        """
        entries = [entry for entry in self._find(texts) if entry is not None]
        if missing := len(texts) - len(entries):
            raise DataError(
                f"{self.folder} lacks the states of {missing:,} of {len(texts):,} texts",
                remedy="run again to have them encoded",
            )
        with suppress(OSError):  # a cache that cannot be written can be read
            os.utime(self.folder)
        with reading(self.folder):
            return CachedStates(self.folder / STATES, entries, self.dim, self.kind)

    def _find(self, texts: Sequence[str]) -> list[_Entry | None]:
        """The entry of each text, if its states are there and match their CRC."""
        path = self.folder / STATES
        with reading(self.folder):
            stats = (_stat(path), _stat(self.folder / INDEX))
            if stats != self._stats:
                self._entries = read_index(self.folder)
                self._stats, self._intact = stats, {}
            found = [self._entries.get(text_sha256(text)) for text in texts]
            unchecked = sorted({each for each in found if each} - self._intact.keys())
            size = row_bytes(self.dim, self.kind) * sum(entry.rows for entry in unchecked)
            if WORTH_A_NOTE_BYTES < size <= sum(stats[0][1:2]):
                self.note(f"checking {format_bytes(size)} of cached states")
            intact = self._check(unchecked)
        self._intact.update(zip(unchecked, intact, strict=True))
        if damaged := intact.count(False):
            self.note(f"{path} is damaged: states of {damaged:,} texts; they are encoded again")
        return [entry if entry and self._intact[entry] else None for entry in found]

    def _append(
        self, encoder: TextEncoder, texts: Sequence[str], progress: Progress | None
    ) -> None:
        """Encode and write, under the lock."""
        prepared = encoder.prepare(texts)
        rows = int(np.sum(prepared.rows))
        needed, int8 = (rows * row_bytes(self.dim, kind) for kind in (self.kind, "int8"))
        remedy = "free the disk, set QKV_CACHE to a folder with more room"
        if int8 < needed:
            remedy += f', or keep states = "int8" ({format_bytes(int8)})'
        what = f"the states of {rows:,} tokens need"
        with writing(self.root):
            require_space(self.root, needed, what=what, remedy=remedy, spare_bytes=SPARE_BYTES)
        ahead = f"{len(texts):,} texts to encode, {prepared.tokens:,} tokens"
        self.note(f"{ahead}; {format_bytes(needed)} in {self.folder}")
        began, estimated = time.monotonic(), False

        def advance(done: int, total: int) -> None:
            nonlocal estimated
            seconds = time.monotonic() - began
            if not estimated and seconds >= ESTIMATE_AFTER_SECONDS and done < total:
                estimated = True
                left = seconds * (total - done) / done
                time_left = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
                self.note(f"about {time_left} to go at {done / seconds:,.0f} tokens/s")
            if progress:
                progress(done, total)

        with ExitStack() as stack:
            with writing(self.folder):
                with replacing(self.folder / FACTS) as facts:
                    facts.write_text(self.document, "utf-8")
                data = stack.enter_context((self.folder / STATES).open("ab", buffering=0))
                index = stack.enter_context((self.folder / INDEX).open("ab", buffering=0))
                if torn := index.tell() % _RECORD.size:
                    index.truncate(index.tell() - torn)
            for number, states in encoder.encode(prepared, progress=advance):
                expected = (int(prepared.rows[number]), self.dim)
                if tuple(states.shape) != expected:
                    raise ValueError(f"states of shape {tuple(states.shape)}, not {expected}")
                kept = pack(states, self.kind)
                content = b"" if kept.scales is None else kept.scales.tobytes()
                content += kept.values.tobytes()
                text, pieces = text_sha256(texts[number]), int(prepared.pieces[number])
                with writing(self.folder):
                    place = _append_whole(data, content)
                    entry = _Entry(text, place, len(states), pieces, 0)
                    crc = entry.crc_of(self.document, content)
                    _append_whole(index, _RECORD.pack(*entry._replace(crc=crc)))
            with writing(self.folder):
                os.fsync(data.fileno())

    def _check(self, entries: Sequence[_Entry]) -> list[bool]:
        """Whether the states of each entry match its CRC."""
        intact = []
        path, width = self.folder / STATES, row_bytes(self.dim, self.kind)
        with suppress(FileNotFoundError, NotADirectoryError), FileIO(path) as file:
            size = os.fstat(file.fileno()).st_size
            for entry in entries:
                content = b""
                # A damaged record may ask for anything.
                if 0 <= entry.rows <= size // width and 0 <= entry.place <= size:
                    file.seek(entry.place)
                    try:
                        content = file.read(entry.rows * width)
                    except OSError as error:
                        if error.errno != errno.EIO:  # a sector that cannot be read is damage
                            raise
                intact.append(entry.crc == entry.crc_of(self.document, content))
        return intact + [False] * (len(entries) - len(intact))


class CachedStates:
    """The states of given texts in padded batches, read as they are wanted; made by `reader`.

    Threads may share it. The file is read, not mapped: pages of a map count as the process's memory
    for as long as they stay, and a mapped file that shrinks ends the process by a signal.

    Attributes:
        lengths: int64 (texts,), states of each text.
        pieces: int64 (texts,), word pieces of each text before any were cut off.
    """

    def __init__(self, path: Path, entries: Sequence[_Entry], dim: int, kind: Kind) -> None:
        self.dim = dim
        self.kind: Kind = kind
        self.lengths: IntArray = np.array([entry.rows for entry in entries], dtype=np.int64)
        self.pieces: IntArray = np.array([entry.pieces for entry in entries], dtype=np.int64)
        self._places: IntArray = np.array([entry.place for entry in entries], dtype=np.int64)
        # Opened now: the cache may be cleared, and filled in another order, while this is in use.
        self._path = path
        self._file = FileIO(path if entries else os.devnull)
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        # Kept between batches: memory fresh from the system costs more than the copying.
        self._values = np.empty(0, np.float16 if kind == "float16" else np.int8)

    def padded(
        self, indices: npt.ArrayLike
    ) -> tuple[Float32[Tensor, "texts tokens dim"], Bool[Tensor, "texts tokens"]]:
        """The states of some texts, padded with zeros, and their mask, True where a state is.

        Raises:
            DataError: the file cannot be read any more, or has shrunk.
        """
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        lengths = self.lengths[chosen]
        shape = (len(chosen), int(lengths.max(initial=0)))
        scales = np.zeros(shape, np.float32) if self.kind == "int8" else None
        with self._lock, reading(self._path):
            size = shape[0] * shape[1] * self.dim
            if self._values.size < size:
                self._values = np.empty(size, self._values.dtype)
            values = self._values[:size].reshape(*shape, self.dim)
            for row in np.argsort(self._places[chosen]):  # forwards through the file
                rows = lengths[row]
                values[row, rows:] = 0
                self._file.seek(self._places[chosen[row]])
                if scales is not None:
                    self._read(scales[row, :rows])
                self._read(values[row, :rows])
            states = unpack(values, scales)
        return states, torch.from_numpy(np.arange(shape[1]) < lengths[:, None])

    def _read(self, target: npt.NDArray[Any]) -> None:
        if self._file.readinto(target.data) != target.nbytes:
            raise DataError(
                f"{self._path} has shrunk since it was checked",
                remedy="run again: what is damaged is encoded again",
            )


def _document(facts: Mapping[str, Any], dim: int, kind: str) -> str:
    """What a cache is for, as JSON in its one canonical form."""
    document = {"format": FORMAT, "facts": facts, "dim": dim, "kind": kind}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def lock_path(folder: Path) -> Path:
    """The lock of a cache, beside it: a file that goes while somebody waits would let two in."""
    return folder.parent / LOCKS / f"{folder.name}.lock"


def read_index(folder: Path) -> dict[bytes, _Entry]:
    """The records by the hash of their text; a later one replaces an earlier."""
    try:
        content = (folder / INDEX).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    whole = memoryview(content)[: len(content) // _RECORD.size * _RECORD.size]
    return {record[0]: _Entry(*record) for record in _RECORD.iter_unpack(whole)}


def _append_whole(file: FileIO, content: bytes) -> int:
    """Append and return where it begins; what could not be written whole is taken back."""
    place = file.seek(0, os.SEEK_END)
    left = memoryview(content)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:
        with suppress(OSError):
            file.truncate(place)
        raise
    return place


def _stat(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """OSErrors of the block as a `DataError`."""
    try:
        yield
    except OSError as error:
        remedy = "make it readable, or set QKV_CACHE to another folder"
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", remedy=remedy
        ) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """OSErrors of the block as a `DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}",
            remedy="free the disk or make the folder writable, or set QKV_CACHE to another folder",
        ) from error
