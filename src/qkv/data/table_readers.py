"""What every reader of tables gives, whatever the format.

Lines of a UTF-8 file, one at a time, with their bad bytes marked rather than fatal.

CSV and TSV: rows with quoted cells, numbered by the line on which they start.

The first row names the columns. Cells are quoted as RFC 4180 says; blank lines are passed over. A
row whose quotes do not close is bad by itself: reading goes on at the line after its first, so that
a stray quote cannot swallow good rows.

TSV files are written with quotes by some programs and without by others. Their rows are read with
quotes, unless that does not work out or every single line of the row has the right number of cells:
then quotes are letters like any others.


JSONL: one JSON object a line. Blank lines are passed over.

Parquet: columns with types, read a batch of rows at a time.

Which reader a table needs, by the end of its name.
"""

from __future__ import annotations

import csv
import importlib.util
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from qkv.errors import DataError, MissingExtraError

Advance = Callable[[int], None]
"""Called now and then with the bytes of the file that have been read."""


class Record(NamedTuple):
    """One row.

    Attributes:
        line: the line on which it starts, from 1; in a Parquet file the row, from 1.
        values: the values of the columns asked for, in that order; None where there is none.
    """

    line: int
    values: tuple[object, ...]


class BadRecord(NamedTuple):
    """A row that cannot be read, and why."""

    line: int
    reason: str


class Table(Protocol):
    """A file of rows.

    Attributes:
        columns: the names of its columns.
        notes: what a report should say of how it was read; complete once it has been read.
    """

    columns: tuple[str, ...]
    notes: list[str]

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[Record | BadRecord]:
        """Every row in its order, one at a time: the values of the columns `names`."""
        ...


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


_SEPARATORS = {";": "semicolons", "\t": "tabs"}


class DelimitedTable:
    """A CSV or TSV file; see `Table`.

    Args:
        path: the file.
        delimiter: what stands between cells. A comma gives way to semicolons or tabs if the first
            row has no commas but one of these, which is noted.
    """

    def __init__(self, path: Path, delimiter: str) -> None:
        self.path = path
        self.delimiter = delimiter
        self.notes: list[str] = []
        header = self._header()
        if delimiter == "," and len(header) == 1:
            for other, words in _SEPARATORS.items():
                if other in header[0]:
                    self.delimiter = other
                    self.notes.append(f"the columns of {path.name} are separated by {words}")
                    header = self._header()
                    break
        self.columns = tuple(name.strip() for name in header)

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[Record | BadRecord]:
        """Every row under the header; see `Table.read`."""
        indices = [self.columns.index(name) for name in names]
        width = len(self.columns)
        plain = 0
        rows = self._rows(advance)
        next(rows, None)
        for line, cells, lines in rows:
            if self.delimiter == "\t" and _is_plain(cells, lines, width):
                for number, one in enumerate(lines):
                    plain += 1
                    yield _record(line + number, _split(one), indices)
            elif isinstance(cells, str):
                yield BadRecord(line, cells)
            elif len(cells) != width:
                yield BadRecord(line, f"has {_cells(len(cells))} where the header has {width}")
            else:
                yield _record(line, cells, indices)
        if plain:
            rows_read = "1 row" if plain == 1 else f"{plain:,} rows"
            self.notes.append(f"{rows_read} of {self.path.name} read with quotes as plain letters")

    def _header(self) -> list[str]:
        for line, cells, _ in self._rows(lambda _: None):
            problem = cells if isinstance(cells, str) else bad_byte("".join(cells))
            if problem or isinstance(cells, str):
                raise DataError(
                    f"{self.path.name}:{line} should name the columns, but {problem}",
                    remedy="correct the first row",
                )
            return cells
        raise DataError(f"{self.path} has no rows", remedy="name a table with rows")

    def _rows(self, advance: Advance) -> Iterator[tuple[int, list[str] | str, list[str]]]:
        """(first line, cells or what is wrong, the lines it was read from) of every row."""
        # The limit of the csv module holds for the whole process: it is raised, never lowered.
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
        lines = _Lines(read_lines(self.path, advance))
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        while True:
            first = lines.begin()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield first, _reason(error), lines.rewind()
                continue
            except _EndlessError:
                lines.rewind()
                yield first, "has a quoted cell without an end", []
                continue
            if cells:
                yield first, cells, lines.taken


class _EndlessError(Exception):
    """A row that is longer than any row can be."""


class _Lines:
    """Lines for a csv reader, which can have those after the first of a row once more."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._again: deque[str] = deque()
        self._number = 0
        self._size = 0
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._source)
        self._number += 1
        self._size += len(line)
        self.taken.append(line)
        if self._size > LONGEST and len(self.taken) > 1:
            raise _EndlessError
        return line

    def begin(self) -> int:
        """Start a row; returns its first line."""
        self.taken = []
        self._size = 0
        return self._number + 1

    def rewind(self) -> list[str]:
        """Put back all but the first line of the row; returns that one."""
        first, *rest = self.taken
        self._again.extendleft(reversed(rest))
        self._number -= len(rest)
        return [first]


def _is_plain(cells: list[str] | str, lines: Sequence[str], width: int) -> bool:
    read_well = not isinstance(cells, str) and len(cells) == width
    if read_well and len(lines) == 1:
        return False
    return bool(lines) and all('"' in lines[0] and len(_split(line)) == width for line in lines)


def _split(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _record(line: int, cells: Sequence[str], indices: Sequence[int]) -> Record | BadRecord:
    for cell in cells:
        if problem := bad_byte(cell):
            return BadRecord(line, problem)
    return Record(line, tuple([cells[index] for index in indices]))


def _reason(error: csv.Error) -> str:
    words = str(error)
    if "unexpected end of data" in words:
        return "has a quoted cell without an end"
    if "expected after" in words:
        return "has letters after a closing quote (a quote within a cell is written twice)"
    if "new-line character" in words:
        return "has a carriage return outside quotes"
    return f"is not well formed ({words})"


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


_LOOKED_AT = 100
"""Rows whose keys make the columns: an object may leave a key out."""

_KINDS = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}


class JsonLinesTable:
    """A JSONL file; see `Table`. Its columns are the keys in its first 100 objects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        keys: dict[str, None] = {}
        first = list(islice(self._objects(lambda _: None), _LOOKED_AT))
        for _, found in first:
            if isinstance(found, dict):
                keys |= dict.fromkeys(found)
        if not keys:
            raise DataError(
                f"{path.name}:{first[0][0]} {first[0][1]}"
                if first and isinstance(first[0][1], str)
                else f"{path} has no rows",
                remedy="write one JSON object a line",
            )
        self.columns = tuple(keys)

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[Record | BadRecord]:
        """Every object; see `Table.read`. A key that an object lacks gives None."""
        for line, found in self._objects(advance):
            if isinstance(found, str):
                yield BadRecord(line, found)
            else:
                yield Record(line, tuple([found.get(name) for name in names]))

    def _objects(self, advance: Advance) -> Iterator[tuple[int, dict[str, Any] | str]]:
        for number, line in enumerate(read_lines(self.path, advance), start=1):
            if not line.isspace():
                yield number, bad_byte(line) or _parse(line)


def _parse(line: str) -> dict[str, Any] | str:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        return f"is not valid JSON ({error.msg} at character {error.pos + 1})"
    except ValueError:
        return "has a number with too many digits"
    except RecursionError:
        return "is nested too deeply"
    if not isinstance(found, dict):
        return f"is {_KINDS.get(type(found), 'a number')}, not a JSON object"
    return found


_ROWS_IN_BATCH = 1024


class ParquetTable:
    """A Parquet file; see `Table`. Its rows have no lines: they are counted from 1.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: the file is not Parquet, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise MissingExtraError(
                f"{path} needs pyarrow to be read", remedy="pip install 'qkv[parquet]'"
            )
        self.path = path
        self.notes: list[str] = []
        with _opened(path) as file:
            self.columns = tuple(file.schema_arrow.names)

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[Record | BadRecord]:
        """Every row; see `Table.read`.

        Raises:
            DataError: a column is neither words, numbers nor true and false, or the file is
                damaged.
        """
        size = self.path.stat().st_size
        with _opened(self.path) as file:
            for name in names:
                self._check_type(name, file.schema_arrow.field(name).type)
            total, row = file.metadata.num_rows, 0
            for batch in file.iter_batches(_ROWS_IN_BATCH, columns=list(dict.fromkeys(names))):
                columns = [_values(batch.column(name)) for name in names]
                for values in zip(*columns, strict=True):
                    row += 1
                    yield _parquet_record(row, values)
                advance(size * row // max(total, 1))

    def _check_type(self, name: str, kind: Any) -> None:
        import pyarrow.types as types  # type: ignore[import-untyped]

        inner = kind.value_type if types.is_dictionary(kind) else kind
        if not (
            _is_text(inner)
            or types.is_boolean(inner)
            or types.is_integer(inner)
            or types.is_floating(inner)
            or types.is_null(inner)
        ):
            raise DataError(
                f"column {name!r} of {self.path.name} holds {kind}, neither texts nor labels",
                remedy="name another column with --text-column or --label-column",
            )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise cannot_read(path, error) from None
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(
            f"{path} is not a sound Parquet file ({reason})", remedy="write or download it again"
        ) from None


def _values(column: Any) -> list[object]:
    """The values of a column; texts as bytes, since a writer may not have checked them."""
    import pyarrow
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_text(column.type):
        column = column.cast(pyarrow.large_binary())
    values: list[object] = column.to_pylist()
    return values


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _parquet_record(row: int, values: Sequence[object]) -> Record | BadRecord:
    try:
        texts = [value.decode("utf-8") if isinstance(value, bytes) else value for value in values]
    except UnicodeDecodeError as error:
        return BadRecord(row, not_utf8(error.object[error.start]))
    return Record(row, tuple(texts))


_OPENERS: dict[str, Callable[[Path], Table]] = {
    ".csv": lambda path: DelimitedTable(path, ","),
    ".tsv": lambda path: DelimitedTable(path, "\t"),
    ".jsonl": JsonLinesTable,
    ".ndjson": JsonLinesTable,
    ".parquet": ParquetTable,
}
_REMEDIES = {
    ".json": "write one JSON object a line and end its name in .jsonl",
    ".xlsx": "export it as CSV UTF-8",
    ".xls": "export it as CSV UTF-8",
    ".ods": "export it as CSV UTF-8",
    ".gz": "unpack it",
    ".zip": "unpack it",
}


def is_table(path: Path) -> bool:
    """Whether the name is that of a table."""
    return path.suffix.lower() in _OPENERS


def open_table(path: Path) -> Table:
    """A table, with its columns read.

    Raises:
        DataError: the end of its name is none that qkv reads, or the file is not what it says.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in _OPENERS:
        known = ", ".join(_OPENERS)
        raise DataError(
            f"{path} is not a table that can be read",
            remedy=_REMEDIES.get(suffix, f"name a file that ends in one of {known}"),
        )
    return _OPENERS[suffix](path)
