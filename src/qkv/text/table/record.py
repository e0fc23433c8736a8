"""What every reader of tables gives, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

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
