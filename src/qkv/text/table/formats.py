"""Which reader a table needs, by the end of its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qkv.errors import DataError
from qkv.text.table.delimited import DelimitedTable
from qkv.text.table.jsonl import JsonLinesTable
from qkv.text.table.parquet import ParquetTable
from qkv.text.table.record import Table

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
