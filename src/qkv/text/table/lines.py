"""Lines of a UTF-8 file, one at a time, with their bad bytes marked rather than fatal."""

from __future__ import annotations

from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from qkv.errors import DataError
from qkv.text.table.record import Advance

LONGEST = 64 * 2**20
"""Characters of the longest line or row; beyond it a quote or a line end must be missing."""

_HEAD = 64 * 1024
_LINES_BETWEEN_CALLS = 512
_SAVE_AS_UTF8 = "save it as UTF-8 (in Excel: CSV UTF-8)"
_FOREIGN_STARTS = (
    (b"\xff\xfe", "is UTF-16 text, not UTF-8", _SAVE_AS_UTF8),
    (b"\xfe\xff", "is UTF-16 text, not UTF-8", _SAVE_AS_UTF8),
    (b"\x00\x00\xfe\xff", "is UTF-32 text, not UTF-8", _SAVE_AS_UTF8),
    (b"PK\x03\x04", "is a ZIP archive or a workbook, not text", "export it as CSV UTF-8"),
    (b"\x1f\x8b", "is a gzip archive, not text", "unpack it"),
    (b"PAR1", "is a Parquet file, not text", "end its name in .parquet"),
)


def read_lines(path: Path, advance: Advance) -> Iterator[str]:
    r"""The lines of a file with their ends, which are kept as they are.

    A line ends in `\n`, or in `\r` if the start of the file has no other end. A mark of byte order
    is dropped. Each byte that is not UTF-8 becomes a surrogate (`bad_byte` finds it), so that one
    damaged row does not hide the others.

    Raises:
        DataError: the file cannot be read, is empty, is not text in UTF-8 at all, or has a line
            longer than `LONGEST`.
    """
    try:
        with path.open("rb") as binary:
            head = binary.read(_HEAD)
            _refuse_foreign(path, head)
            binary.seek(0)
            end = "\r" if b"\r" in head and b"\n" not in head else "\n"
            file = TextIOWrapper(
                binary, encoding="utf-8-sig", errors="surrogateescape", newline=end
            )
            number = 0
            while line := file.readline(LONGEST):
                number += 1
                if len(line) == LONGEST and not line.endswith(end):
                    raise DataError(
                        f"{path.name}:{number} has more than {LONGEST:,} characters",
                        remedy="end every row by a line end",
                    )
                if number % _LINES_BETWEEN_CALLS == 0:
                    advance(binary.tell())
                yield line
    except OSError as error:
        raise cannot_read(path, error) from None


def bad_byte(text: str) -> str | None:
    """Why text from `read_lines` is not UTF-8, or None."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return not_utf8(ord(text[error.start]) - 0xDC00)
    return None


def not_utf8(byte: int) -> str:
    """The reason to leave out text with this byte."""
    return f"has a byte 0x{byte:02x} that is not UTF-8"


def cannot_read(path: Path, error: OSError) -> DataError:
    """What the operating system says of a file."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"there is no file {path}", remedy="check the path")
    return DataError(
        f"{path} cannot be read ({error.strerror or error})", remedy="check its permissions"
    )


def _refuse_foreign(path: Path, head: bytes) -> None:
    if not head:
        raise DataError(f"{path} is empty (0 bytes)", remedy="name a table with rows")
    for start, what, remedy in _FOREIGN_STARTS:
        if head.startswith(start):
            raise DataError(f"{path} {what}", remedy=remedy)
    # Without a mark of byte order, every other byte of UTF-16 in a Latin script is zero.
    if max(head[0::2].count(0), head[1::2].count(0)) > len(head) // 4:
        raise DataError(f"{path} is UTF-16 text or binary, not UTF-8", remedy=_SAVE_AS_UTF8)
