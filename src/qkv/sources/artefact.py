"""A file known by the hash of its content, and the only ways to read or keep it: verified."""

from __future__ import annotations

import gzip
import hashlib
import io
import mmap
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qkv.errors import DataError

Content = bytes | mmap.mmap
"""Verified content: bytes, or a read-only memory map."""

_CHUNK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Artefact:
    """One file to obtain, and how to know that it is the right one.

    Attributes:
        name: a plain file name, under which the uncompressed content is kept.
        sha256: hash of the content after decompression, 64 hex digits.
        size: bytes after decompression.
        urls: http or https addresses of the file, in the order in which they are tried.
        compression: how the bytes behind the addresses are packed.
    """

    name: str
    sha256: str
    size: int
    urls: tuple[str, ...] = ()
    compression: Literal["gzip"] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ValueError(f"not a plain file name: {self.name!r}")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256) or self.size < 0:
            raise ValueError(f"{self.name}: needs 64 lower-case hex digits and a size")

    @property
    def remedy(self) -> str:
        """What a person can do about a damaged copy."""
        return f"delete it and fetch it again{f' from {self.urls[0]}' if self.urls else ''}"

    def candidates(self, folder: Path) -> list[Path]:
        """Files of `folder` that may hold this artefact: `NAME`, then `NAME.gz`."""
        paths = (folder / self.name, folder / f"{self.name}.gz")
        return [path for path in paths if path.is_file()]


def read_verified(artefact: Artefact, path: Path) -> Content:
    """The content of `path`, checked against the artefact's size and hash.

    A file called `NAME.gz` is unpacked into memory, and never further than the expected size;
    any other file is mapped read-only, so that it costs no memory.

    Raises:
        DataError: the file cannot be read, or its content is not the artefact's.
    """
    if path.name == f"{artefact.name}.gz":
        return b"".join(_verified_chunks(artefact, path, packed=True))
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != artefact.size:
                raise _wrong_size(artefact, path, size)
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        raise _unreadable(artefact, path, error) from error
    _check_digest(artefact, path, hashlib.sha256(content).hexdigest())
    return content


def install(artefact: Artefact, path: Path, folder: Path, *, packed: bool) -> Path:
    """Keep the content of `path` as `folder/NAME`, unpacked; the name exists only once verified.

    Args:
        artefact: what `path` must hold.
        path: a file with the content, packed by gzip if `packed`; it is left as it is.
        folder: an existing folder.
        packed: whether to unpack. Content that is plain already is taken as it is, since some
            servers and browsers unpack on the way.

    Raises:
        DataError: the content is not the artefact's.
        OSError: `folder` cannot be written.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{artefact.name}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as out:
            for chunk in _verified_chunks(artefact, path, packed=packed):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        # mkstemp keeps the file to its owner; a cache may be shared.
        Path(temporary).chmod(0o644)
        final = folder / artefact.name
        Path(temporary).replace(final)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return final


def _verified_chunks(artefact: Artefact, path: Path, *, packed: bool) -> Iterator[bytes]:
    """Content in chunks; the last step raises unless the whole was the artefact's."""
    digest = hashlib.sha256()
    size = 0
    for chunk in _chunks(artefact, path, packed=packed):
        size += len(chunk)
        if size > artefact.size:
            raise DataError(
                f"{path} holds more than the {artefact.size} bytes expected of {artefact.name}",
                remedy=artefact.remedy,
            )
        digest.update(chunk)
        yield chunk
    if size != artefact.size:
        raise _wrong_size(artefact, path, size)
    _check_digest(artefact, path, digest.hexdigest())


def _chunks(artefact: Artefact, path: Path, *, packed: bool) -> Iterator[bytes]:
    # One byte past the expected size is enough to know that there is too much.
    left = artefact.size + 1
    try:
        with path.open("rb") as raw:
            stream: io.BufferedIOBase = raw
            if packed and raw.peek(2)[:2] == _GZIP_MAGIC:
                stream = gzip.GzipFile(fileobj=raw)
            while left and (chunk := stream.read(min(_CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path} is a damaged gzip file ({error})", remedy=artefact.remedy
        ) from error
    except OSError as error:
        raise _unreadable(artefact, path, error) from error


def _check_digest(artefact: Artefact, path: Path, found: str) -> None:
    if found != artefact.sha256:
        raise DataError(
            f"{path} is not {artefact.name}: its content has sha256 {found[:12]}…, "
            f"expected {artefact.sha256[:12]}…",
            remedy=artefact.remedy,
        )


def _wrong_size(artefact: Artefact, path: Path, found: int) -> DataError:
    return DataError(
        f"{path} is not {artefact.name}: it holds {found} bytes, expected {artefact.size}",
        remedy=artefact.remedy,
    )


def _unreadable(artefact: Artefact, path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be read: {error.strerror or error}",
        remedy=f"make it readable, or {artefact.remedy}",
    )
