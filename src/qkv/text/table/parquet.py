"""Parquet: columns with types, read a batch of rows at a time."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qkv.errors import DataError, MissingExtraError
from qkv.text.table.lines import cannot_read, not_utf8
from qkv.text.table.record import Advance, BadRecord, Record

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
                    yield _record(row, values)
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


def _record(row: int, values: Sequence[object]) -> Record | BadRecord:
    try:
        texts = [value.decode("utf-8") if isinstance(value, bytes) else value for value in values]
    except UnicodeDecodeError as error:
        return BadRecord(row, not_utf8(error.object[error.start]))
    return Record(row, tuple(texts))
