"""Readers of CSV, TSV, JSONL and Parquet: rows one at a time, each with its line, bad ones named.

CSV and TSV: the first row names the columns, cells are quoted as RFC 4180 says, blank lines are
passed over. A row whose quotes do not close is bad by itself: reading goes on at the line after its
first, so that a stray quote cannot swallow good rows. TSV files are written with quotes by some
programs and without by others. Their rows are read with quotes, unless that does not work out or
every single line of the row has the right number of cells: then quotes are letters like any others.
"""

from __future__ import annotations

import csv
import importlib.util
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from qkv.errors import DataError, MissingExtraError

LONGEST = 64 * 2**20
"""Characters of the longest line or cell; beyond it a quote or a line end must be missing."""

Advance = Callable[[int], None]
"""Called now and then with the bytes of the file that have been read."""

_HEAD_BYTES = 64 * 1024
_LINES_BETWEEN_CALLS = 512
_ROWS_IN_BATCH = 1024
_OBJECTS_FOR_COLUMNS = 100
_SAVE_AS_UTF8 = "save it as UTF-8 (in Excel: CSV UTF-8)"
_FOREIGN_STARTS = (
    (b"\xff\xfe", "is UTF-16 text, not UTF-8", _SAVE_AS_UTF8),
    (b"\xfe\xff", "is UTF-16 text, not UTF-8", _SAVE_AS_UTF8),
    (b"PK\x03\x04", "is a ZIP archive or a workbook, not text", "export it as CSV UTF-8"),
    (b"\x1f\x8b", "is a gzip archive, not text", "unpack it"),
    (b"PAR1", "is a Parquet file, not text", "end its name in .parquet"),
)
_JSON_KINDS = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
_CSV_PROBLEMS = {
    "unexpected end of data": "has a quoted cell without an end",
    "larger than field limit": "has a quoted cell without an end",
    "expected after": "has letters after a closing quote (a quote within a cell is written twice)",
    "new-line character": "has a carriage return outside quotes",
}
_REMEDIES = {
    ".json": "write one JSON object a line and end its name in .jsonl",
    ".xlsx": "export it as CSV UTF-8",
    ".xls": "export it as CSV UTF-8",
    ".ods": "export it as CSV UTF-8",
    ".gz": "unpack it",
    ".zip": "unpack it",
}


class Record(NamedTuple):
    """One row.

    Attributes:
        line: the line on which it starts, from 1; in a Parquet file the row, from 1.
        values: the values of the columns asked for, in that order, None where there is none; or
            why the row cannot be read.
    """

    line: int
    values: tuple[object, ...] | str


class Table(ABC):
    """A file of rows.

    Attributes:
        path: the file.
        columns: the names of its columns.
        notes: what a report should say of how it was read; complete once it has been read.
    """

    columns: tuple[str, ...]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []

    @abstractmethod
    def read(self, names: Sequence[str], advance: Advance) -> Iterator[Record]:
        """Every row in its order, one at a time: the values of the columns `names`.

        Raises:
            DataError: the file cannot be read, or is damaged as a whole.
        """


def is_table(path: Path) -> bool:
    """Whether the name is that of a table."""
    return path.suffix.lower() in _READERS


def open_table(path: Path) -> Table:
    """A table, with its columns read.

    Raises:
        DataError: the end of its name is none that qkv reads, or the file is not what it says.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(
            f"{path} is not a table that can be read",
            remedy=_REMEDIES.get(suffix, f"name a file that ends in one of {', '.join(_READERS)}"),
        )
    return _READERS[suffix](path)


class DelimitedTable(Table):
    """A CSV or TSV file.

    A comma as delimiter gives way to semicolons or tabs, which is noted, if the first row has no
    commas but one of these.
    """

    def __init__(self, path: Path, delimiter: str = ",") -> None:
        super().__init__(path)
        self.delimiter = delimiter
        header = self._header()
        if delimiter == "," and len(header) == 1:
            for other, words in ((";", "semicolons"), ("\t", "tabs")):
                if other in header[0]:
                    self.delimiter = other
                    self.notes.append(f"the columns of {path.name} are separated by {words}")
                    header = self._header()
                    break
        self.columns = tuple(name.strip() for name in header)

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[Record]:
        """Every row under the header; see `Table.read`."""
        indices = [self.columns.index(name) for name in names]
        width, plain = len(self.columns), 0
        for line, cells, lines in islice(self._rows(advance), 1, None):
            good = not isinstance(cells, str) and len(cells) == width
            if self._has_plain_quotes(lines) and not (good and len(lines) == 1):
                plain += len(lines)
                for number, one in enumerate(lines, start=line):
                    yield _record(number, _split(one), indices)
            elif isinstance(cells, str):
                yield Record(line, cells)
            elif not good:
                count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                yield Record(line, f"has {count} where the header has {width}")
            else:
                yield _record(line, cells, indices)
        if plain:
            rows = "1 row" if plain == 1 else f"{plain:,} rows"
            self.notes.append(f"{rows} of {self.path.name} read with quotes as plain letters")

    def _has_plain_quotes(self, lines: Sequence[str]) -> bool:
        """Whether each of these lines is a row of a TSV file if quotes are letters."""
        plain = self.delimiter == "\t" and '"' in lines[0]
        return plain and all(len(_split(line)) == len(self.columns) for line in lines)

    def _header(self) -> list[str]:
        for line, cells, _ in self._rows(lambda _: None):
            problem = cells if isinstance(cells, str) else _bad_byte("".join(cells))
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
        source = _read_lines(self.path, advance)
        again: deque[str] = deque()  # lines after the first of a bad row, to be read once more
        taken: list[str] = []

        def lines() -> Iterator[str]:
            while line := again.popleft() if again else next(source, ""):
                taken.append(line)
                yield line

        reader, number = csv.reader(lines(), delimiter=self.delimiter, strict=True), 1
        while True:
            taken.clear()
            try:
                cells: list[str] | str = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                known = (reason for words, reason in _CSV_PROBLEMS.items() if words in str(error))
                cells = next(known, f"is not well formed ({error})")
                again.extendleft(reversed(taken[1:]))
                del taken[1:]
                reader = csv.reader(lines(), delimiter=self.delimiter, strict=True)
            if cells:
                yield number, cells, list(taken)
            number += len(taken)


class JsonLinesTable(Table):
    """A JSONL file: an object a line. Its columns are the keys in its first 100 objects."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        first = list(islice(self._objects(lambda _: None), _OBJECTS_FOR_COLUMNS))
        objects = [found for _, found in first if isinstance(found, dict)]
        self.columns = tuple(dict.fromkeys(key for found in objects for key in found))
        if not self.columns:
            raise DataError(
                f"{path.name}:{first[0][0]} {first[0][1]}"
                if first and isinstance(first[0][1], str)
                else f"{path} has no rows",
                remedy="write one JSON object a line",
            )

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[Record]:
        """Every object; see `Table.read`. A key that an object lacks gives None."""
        for line, found in self._objects(advance):
            if isinstance(found, str):
                yield Record(line, found)
            else:
                yield Record(line, tuple([found.get(name) for name in names]))

    def _objects(self, advance: Advance) -> Iterator[tuple[int, dict[str, Any] | str]]:
        for number, line in enumerate(_read_lines(self.path, advance), start=1):
            if not line.isspace():
                yield number, _bad_byte(line) or _parse(line)


class ParquetTable(Table):
    """A Parquet file. Its rows have no lines: they are counted from 1."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if importlib.util.find_spec("pyarrow") is None:
            raise MissingExtraError(
                f"{path} needs pyarrow to be read", remedy="pip install 'qkv[parquet]'"
            )
        with self._opened() as file:
            self.columns = tuple(file.schema_arrow.names)

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[Record]:
        """Every row of columns of words, numbers or true and false; see `Table.read`."""
        size = self.path.stat().st_size
        with self._opened() as file:
            kinds = [file.schema_arrow.field(name).type for name in names]
            casts = [self._plain_type(*pair) for pair in zip(names, kinds, strict=True)]
            total, row = file.metadata.num_rows, 0
            for batch in file.iter_batches(_ROWS_IN_BATCH, columns=list(dict.fromkeys(names))):
                columns = []
                for name, cast in zip(names, casts, strict=True):
                    column = batch.column(name)
                    if hasattr(column, "dictionary_decode"):
                        column = column.dictionary_decode()
                    columns.append(column.cast(cast).to_pylist())
                for values in zip(*columns, strict=True):
                    row += 1
                    yield Record(row, _decoded(values))
                advance(size * row // max(total, 1))

    def _plain_type(self, name: str, kind: Any) -> Any:
        """What a column is cast to: texts to bytes, since a writer may not have checked them."""
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.types as types  # type: ignore[import-untyped]

        kind = kind.value_type if types.is_dictionary(kind) else kind
        if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
            return pyarrow.large_binary()
        checks = (types.is_boolean, types.is_integer, types.is_floating, types.is_null)
        if not any(check(kind) for check in checks):
            raise DataError(
                f"column {name!r} of {self.path.name} holds {kind}, neither texts nor labels",
                remedy="name another column with --text-column or --label-column",
            )
        return kind

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import pyarrow
        import pyarrow.parquet  # type: ignore[import-untyped]

        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                yield file
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise _cannot_read(self.path, error) from None
            reason = str(error).partition("\n")[0].rstrip(".")
            raise DataError(
                f"{self.path} is not a sound Parquet file ({reason})",
                remedy="write or download it again",
            ) from None


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": DelimitedTable,
    ".tsv": lambda path: DelimitedTable(path, "\t"),
    ".jsonl": JsonLinesTable,
    ".ndjson": JsonLinesTable,
    ".parquet": ParquetTable,
}


def not_utf8(error: UnicodeDecodeError) -> str:
    """The reason to leave out text that is not UTF-8."""
    return f"has a byte 0x{error.object[error.start]:02x} that is not UTF-8"


def _read_lines(path: Path, advance: Advance) -> Iterator[str]:
    r"""The lines of a UTF-8 file with their ends, which are kept as they are.

    A line ends in `\n`, or in `\r` if the start of the file has no other end. A mark of byte order
    is dropped. Each byte that is not UTF-8 becomes a surrogate (`_bad_byte` finds it), so that one
    damaged row does not hide the others.

    Raises:
        DataError: the file cannot be read, is empty, is not text in UTF-8 at all, or has a line
            longer than `LONGEST`.
    """
    try:
        with path.open("rb") as binary:
            head = binary.read(_HEAD_BYTES)
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
        raise _cannot_read(path, error) from None


def _refuse_foreign(path: Path, head: bytes) -> None:
    if not head:
        raise DataError(f"{path} is empty (0 bytes)", remedy="name a table with rows")
    for start, what, remedy in _FOREIGN_STARTS:
        if head.startswith(start):
            raise DataError(f"{path} {what}", remedy=remedy)
    # Without a mark of byte order, every other byte of UTF-16 in a Latin script is zero.
    if max(head[0::2].count(0), head[1::2].count(0)) > len(head) // 4:
        raise DataError(f"{path} is UTF-16 text or binary, not UTF-8", remedy=_SAVE_AS_UTF8)


def _cannot_read(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"there is no file {path}", remedy="check the path")
    return DataError(
        f"{path} cannot be read ({error.strerror or error})", remedy="check its permissions"
    )


def _bad_byte(text: str) -> str | None:
    """Why text from `_read_lines` is not UTF-8, or None."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        return not_utf8(error)
    return None


def _record(line: int, cells: Sequence[str], indices: Sequence[int]) -> Record:
    return Record(line, _bad_byte("\n".join(cells)) or tuple([cells[index] for index in indices]))


def _decoded(values: Sequence[object]) -> tuple[object, ...] | str:
    try:
        return tuple(v.decode("utf-8") if isinstance(v, bytes) else v for v in values)
    except UnicodeDecodeError as error:
        return not_utf8(error)


def _split(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


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
        return f"is {_JSON_KINDS.get(type(found), 'a number')}, not a JSON object"
    return found
