"""Texts without labels, to be classified."""

from __future__ import annotations

import os
from pathlib import Path

from qkv.errors import BadFilesError
from qkv.text.table.cells import BadCellError, text_or_nothing
from qkv.text.table.columns import choose_text_column
from qkv.text.table.formats import open_table
from qkv.text.table.gather import first_of
from qkv.text.table.record import BadRecord


def read_texts(
    path: str | os.PathLike[str], text_column: str | None = None
) -> tuple[list[str], list[str]]:
    """The texts of one table, every row of it, whatever its other columns hold.

    A row whose text is empty or missing gives the empty text, so that answers match rows.

    Args:
        path: a CSV, TSV, JSONL or Parquet file.
        text_column: the column of texts. None takes the one that is clearly named, or the only one
            that is neither an index nor named like labels.

    Returns:
        The place of each text as `FILE:LINE`, and the texts.

    Raises:
        BadFilesError: rows cannot be read; lists them all.
        DataError: the file is missing or no table, or the column is missing or in doubt.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    file = Path(path)
    table = open_table(file)
    column = choose_text_column(table.columns, text_column, where=file.name)
    names: list[str] = []
    texts: list[str] = []
    bad: list[tuple[str, str]] = []
    for record in table.read((column,), lambda _: None):
        place = f"{file.name}:{record.line}"
        if isinstance(record, BadRecord):
            bad.append((place, record.reason))
            continue
        try:
            texts.append(text_or_nothing(record.values[0]))
        except BadCellError as error:
            bad.append((place, error.reason))
        else:
            names.append(place)
    if bad:
        raise BadFilesError(
            f"{len(bad):,} of {len(bad) + len(texts):,} rows in {file} cannot be read: "
            + first_of(bad),
            remedy="repair or remove them",
            files=bad,
        )
    return names, texts
