"""A segment: the states of some texts in one file that exists only whole.

The file is in the safetensors format, so anything that reads that format can read it:

    lengths  int64 (texts,)       states of each text
    pieces   int64 (texts,)       word pieces of the whole text, before any were cut off; or −1
    hashes   uint8 (texts, 32)    sha256 of each text
    scales   float32 (rows,)      only beside int8
    states   float16 or int8 (rows, dim), text after text

The header also holds the store's hash and two digests, of what precedes the scales and of the
rest. It is written in one canonical form and compared with that form when it is read, so damage
to the header shows too. Texts are found without reading states; states are hashed before use.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qkv.data.dataset import IntArray
from qkv.errors import DataError
from qkv.text.states.keys import StoreKey, canonical
from qkv.text.states.packing import Packed, row_bytes

SUFFIX = ".safetensors"
TEMPORARY = ".tmp"
HASH_BYTES = 32
_INDEX_BYTES = 16 + HASH_BYTES  # of each text
_MAX_HEADER_BYTES = 4096
_CHUNK_BYTES = 1 << 20

_Part = bytes | memoryview


class Entry(NamedTuple):
    """One text: its sha256, its word pieces (−1 where nobody counted), its states."""

    text: bytes
    pieces: int
    states: Packed


@dataclass(frozen=True)
class Segment:
    """An intact index, and where the states are.

    Attributes:
        path: the file.
        hashes: sha256 of each text.
        lengths: int64 (texts,), states of each text.
        pieces: int64 (texts,), word pieces of each text before any were cut off; −1: unknown.
        starts: int64 (texts,), the row at which each text begins.
        rows: states in all.
        rows_sha256: digest of scales and states, hex.
        scales_at, states_at: offsets in the file, in bytes.
        stat: the file when its index was read.
    """

    path: Path
    hashes: tuple[bytes, ...]
    lengths: IntArray
    pieces: IntArray
    starts: IntArray
    rows: int
    rows_sha256: str
    scales_at: int
    states_at: int
    stat: os.stat_result


@dataclass(frozen=True)
class _Header:
    """The counts and digests from which every byte of the header follows."""

    texts: int
    rows: int
    index_sha256: str
    rows_sha256: str

    def encoded(self, key: StoreKey) -> bytes:
        document: dict[str, object] = {
            "__metadata__": {
                "qkv": "token states",
                "store": key.sha256,
                "index_sha256": self.index_sha256,
                "rows_sha256": self.rows_sha256,
            }
        }
        at = 0
        for name, dtype, shape, size in self._tensors(key):
            document[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = canonical(document).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def _tensors(self, key: StoreKey) -> list[tuple[str, str, list[int], int]]:
        int8 = key.kind == "int8"
        size = self.rows * key.dim
        return [
            ("lengths", "I64", [self.texts], 8 * self.texts),
            ("pieces", "I64", [self.texts], 8 * self.texts),
            ("hashes", "U8", [self.texts, HASH_BYTES], HASH_BYTES * self.texts),
            *([("scales", "F32", [self.rows], 4 * self.rows)] if int8 else []),
            ("states", "I8" if int8 else "F16", [self.rows, key.dim], size if int8 else 2 * size),
        ]


def write_segment(folder: Path, key: StoreKey, entries: Sequence[Entry]) -> Path:
    """Write the states of some texts; the name follows from the content.

    Raises:
        OSError: the folder cannot be written, or the disk is full; nothing is left of the file.
    """
    packed = [entry.states for entry in entries]
    lengths = np.array([len(states.values) for states in packed], dtype="<i8")
    pieces = np.array([entry.pieces for entry in entries], dtype="<i8")
    index: list[_Part] = [lengths.data, pieces.data, *(entry.text for entry in entries)]
    rows: list[_Part] = [states.scales.data for states in packed if states.scales is not None]
    rows += [states.values.data for states in packed]
    header = _Header(len(entries), int(lengths.sum()), _digest(index), _digest(rows))
    encoded = header.encoded(key)
    name = hashlib.sha256(encoded).hexdigest()[:32] + SUFFIX
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=TEMPORARY, dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            for part in (encoded, *index, *rows):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp keeps the file to its owner; a cache may be shared.
        Path(temporary).chmod(0o644)
        return Path(temporary).replace(folder / name)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_segment(path: Path, key: StoreKey) -> Segment:
    """The index of a segment, checked; its states are left unread.

    Raises:
        DataError: the file is not an intact segment of this store.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        size = int.from_bytes(file.read(8), "little")
        encoded = file.read(size) if size <= _MAX_HEADER_BYTES else b""
        header = _parse(encoded)
        if header is None or header.encoded(key) != size.to_bytes(8, "little") + encoded:
            raise _damaged(path, "its header is damaged or of another store")
        data_at = 8 + size
        scales_at = data_at + _INDEX_BYTES * header.texts
        expected = scales_at + header.rows * row_bytes(key.dim, key.kind)
        if stat.st_size != expected:
            raise _damaged(path, f"it holds {stat.st_size} bytes, expected {expected}")
        index = file.read(scales_at - data_at)
    if _digest([index]) != header.index_sha256:
        raise _damaged(path, "the list of its texts does not match its digest")
    lengths, pieces = np.frombuffer(index, "<i8", 2 * header.texts).astype(np.int64).reshape(2, -1)
    names = index[16 * header.texts :]
    scales = 4 * header.rows if key.kind == "int8" else 0
    return Segment(
        path=path,
        hashes=tuple(names[at : at + HASH_BYTES] for at in range(0, len(names), HASH_BYTES)),
        lengths=lengths,
        pieces=pieces,
        starts=np.cumsum(lengths) - lengths,
        rows=header.rows,
        rows_sha256=header.rows_sha256,
        scales_at=scales_at,
        states_at=scales_at + scales,
        stat=stat,
    )


def check_rows(segment: Segment) -> None:
    """Hash scales and states.

    Raises:
        DataError: they do not match their digest.
        OSError: they cannot be read.
    """
    digest = hashlib.sha256()
    chunk = memoryview(bytearray(_CHUNK_BYTES))
    with segment.path.open("rb", buffering=0) as file:
        file.seek(segment.scales_at)
        while count := file.readinto(chunk):
            digest.update(chunk[:count])
    if digest.hexdigest() != segment.rows_sha256:
        raise _damaged(segment.path, "its states do not match their digest")


def _parse(encoded: bytes) -> _Header | None:
    """What a header claims; None where it claims nothing sensible."""
    try:
        document = json.loads(encoded)
        facts = document["__metadata__"]
        header = _Header(
            texts=document["lengths"]["shape"][0],
            rows=document["states"]["shape"][0],
            index_sha256=facts["index_sha256"],
            rows_sha256=facts["rows_sha256"],
        )
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    counts = (header.texts, header.rows)
    digests = (header.index_sha256, header.rows_sha256)
    sound = all(type(count) is int and count >= 0 for count in counts) and all(
        isinstance(digest, str) for digest in digests
    )
    return header if sound else None


def _digest(parts: Sequence[_Part]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged: {reason}", remedy="its texts are encoded again")
