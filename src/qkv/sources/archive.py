"""Members of a tar archive, read one after the other and never written anywhere."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from qkv.errors import DataError

# Headers of one member, its long names among them, and what the reader takes in advance.
_HEADER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE)


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold; beyond any of it the archive is refused.

    Attributes:
        members: files and folders of any name.
        member_bytes: content of each file that is wanted.
        total_bytes: the whole archive after decompression.
    """

    members: int
    member_bytes: int
    total_bytes: int


def archive_members(
    path: Path, wanted: Callable[[str], bool], limits: ArchiveLimits
) -> Iterator[tuple[str, bytes]]:
    """The wanted files of a tar archive, plain or packed by gzip, in the archive's order.

    The archive is read once as a stream, and nothing of it is ever written: a name in it is only
    a word to compare. Regular files and folders are all that it may hold. A link, a device, a
    sparse file, a name that is absolute or steps up, or a wanted name that comes twice condemns
    the archive as a whole. Files that are not wanted are passed over.

    Args:
        path: the archive; verify it first if its hash is known.
        wanted: tells by its name (`a/b.txt`) whether a file is wanted.
        limits: how much is accepted; memory stays below `member_bytes` and a few MB.

    Yields:
        (name, content) of each wanted file.

    Raises:
        DataError: the archive cannot be read, is damaged, breaks a limit, or holds what it must
            not. What was yielded before that must not be used.
    """
    seen: set[str] = set()
    try:
        with path.open("rb") as raw, closing(_unpacked(raw)) as unpacked:
            stream = _Metered(unpacked, path, limits.total_bytes)
            stream.allow(_HEADER_BYTES)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                count = 0
                while (member := _next(tar, stream)) is not None:
                    count += 1
                    if count > limits.members:
                        raise _refused(path, f"it has more than {limits.members:,} members")
                    name = _plain_name(member, path)
                    if member.isdir():
                        continue
                    keep = wanted(name)
                    if keep and name in seen:
                        raise _refused(path, f"{name!r} is in it twice")
                    if keep and member.size > limits.member_bytes:
                        raise _refused(path, f"{name!r} has more than {limits.member_bytes:,} B")
                    content = _content(tar, member, stream, keep=keep)
                    if keep:
                        seen.add(name)
                        yield name, content
                stream.finish(tar.offset)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise _damaged(path, str(error) or "it breaks off") from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", remedy="make it readable"
        ) from error


class _Metered(io.RawIOBase):
    """A stream that gives no more than was allowed, so that no header can ask for memory."""

    def __init__(self, source: IO[bytes], path: Path, total: int) -> None:
        super().__init__()
        self.source = source
        self.path = path
        self.total = total
        self.taken = 0
        self.until = 0
        self.latest = b""

    def allow(self, count: int) -> None:
        """Let `count` more bytes be read."""
        self.until = self.taken + count

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self.source.read(size)
        self.taken += len(data)
        if self.taken > self.total:
            raise _refused(self.path, f"it holds more than {self.total:,} bytes")
        if self.taken > self.until:
            raise _refused(self.path, "a header in it is too long")
        self.latest = data
        return data

    def finish(self, end: int) -> None:
        """Read to the end, given where the last header was looked for.

        The tar reader stops in silence at a damaged header as at the block of zeros that ends an
        archive, so that the two must be told apart here. Reading on checks gzip's own checksum.
        """
        block = self.latest[end - (self.taken - len(self.latest)) :][: tarfile.BLOCKSIZE]
        if block != bytes(tarfile.BLOCKSIZE):
            raise EOFError("it has a wrong header" if block else "it breaks off")
        self.allow(self.total)
        while self.read(_CHUNK_BYTES):
            pass


def _unpacked(raw: io.BufferedReader) -> IO[bytes]:
    packed = raw.peek(2)[:2] == _GZIP_MAGIC
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if packed else raw)


def _next(tar: tarfile.TarFile, stream: _Metered) -> tarfile.TarInfo | None:
    stream.allow(_HEADER_BYTES)
    member = tar.next()
    # The reader remembers every member; nobody asks it for one again.
    tar.members = []  # type: ignore[attr-defined]
    return member


def _plain_name(member: tarfile.TarInfo, path: Path) -> str:
    """The member's name, if it is a file or folder below the archive's root."""
    shown = repr(member.name[:200])
    if not member.isdir() and (member.type not in _FILE_TYPES or member.issparse()):
        raise _refused(path, f"{shown} is neither a regular file nor a folder")
    if member.size < 0:
        raise _refused(path, f"{shown} has a negative size")
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or {"\\", "\0"} & set(member.name):
        raise _refused(path, f"{shown} is not a plain relative name")
    return name.as_posix()


def _content(
    tar: tarfile.TarFile, member: tarfile.TarInfo, stream: _Metered, *, keep: bool
) -> bytes:
    """All bytes of a file, or none if they are not kept; either way the stream is behind them."""
    stream.allow(member.size + _HEADER_BYTES)
    file = tar.extractfile(member)
    assert file is not None  # of a regular file
    kept = []
    left = member.size
    while left:
        chunk = file.read(min(_CHUNK_BYTES, left))
        if not chunk:
            raise EOFError(f"{member.name!r} breaks off")
        left -= len(chunk)
        if keep:
            kept.append(chunk)
    return b"".join(kept)


def _refused(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is refused: {reason}", remedy="delete it and fetch it again from a known place"
    )


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is a damaged archive ({reason})", remedy="delete it and fetch it again"
    )
