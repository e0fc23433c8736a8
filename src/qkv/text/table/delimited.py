"""CSV and TSV: rows with quoted cells, numbered by the line on which they start.

The first row names the columns. Cells are quoted as RFC 4180 says; blank lines are passed over. A
row whose quotes do not close is bad by itself: reading goes on at the line after its first, so that
a stray quote cannot swallow good rows.

TSV files are written with quotes by some programs and without by others. Their rows are read with
quotes, unless that does not work out or every single line of the row has the right number of cells:
then quotes are letters like any others.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from qkv.errors import DataError
from qkv.text.table.lines import LONGEST, bad_byte, read_lines
from qkv.text.table.record import Advance, BadRecord, Record

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
