"""IMDB as the hub keeps it: two Parquet files with the columns `text` and `label`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from qkv.errors import DataError, MissingExtraError
from qkv.text.imdb.facts import CLASS_NAMES, SPLITS, ImdbFacts
from qkv.text.imdb.reviews import Pair, Reviews, gather

NAMES = {split: f"{split}-00000-of-00001.parquet" for split in SPLITS}
FOLDER = "plain_text"

_REMEDY = "download it again"


def parquet_files(folder: Path) -> dict[str, Path]:
    """The Parquet files of `folder/plain_text` or `folder`, by split; none, or some, or both."""
    found: dict[str, Path] = {}
    for place in (folder, folder / FOLDER):
        here = {split: place / name for split, name in NAMES.items() if (place / name).is_file()}
        found = max(here, found, key=len)
    return found


def read_parquet(files: dict[str, Path], facts: ImdbFacts) -> Reviews:
    """The data set out of one file for each split.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: a file is damaged, lacks a column, has other types or other counts.
    """
    where = str(files[SPLITS[0]].parent)
    pairs = {split: _read(path, facts) for split, path in files.items()}
    return gather(pairs, facts, where=where, remedy=_REMEDY)


def require_pyarrow(what: str) -> None:
    """Stop unless Parquet files can be read.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError(
            f"{what} needs pyarrow to be read", remedy="pip install 'qkv[text]'"
        )


def _read(path: Path, facts: ImdbFacts) -> list[Pair]:
    require_pyarrow(str(path))
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]
    import pyarrow.types as types  # type: ignore[import-untyped]

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            expected = facts.reviews_per_class * len(CLASS_NAMES)
            kinds = {name: schema.field(name).type for name in schema.names}
            if not {"text", "label"} <= kinds.keys():
                raise DataError(
                    f"{path} has the columns {', '.join(schema.names)}, not text and label",
                    remedy="name the files of the data set imdb",
                )
            textual = types.is_string(kinds["text"]) or types.is_large_string(kinds["text"])
            if not textual or not types.is_integer(kinds["label"]):
                raise DataError(
                    f"{path} has text as {kinds['text']} and label as {kinds['label']}, "
                    "not as string and integer",
                    remedy="name the files of the data set imdb",
                )
            # Before anything is read: a few bytes can stand for any number of rows.
            if rows != expected:
                raise DataError(f"{path} has {rows:,} rows, not {expected:,}", remedy=_REMEDY)
            table = file.read(columns=["text", "label"])
            # As bytes: a writer may not have checked that they are UTF-8.
            raw = table["text"].cast(pyarrow.large_binary()).to_pylist()
            labels = table["label"].to_pylist()
    except pyarrow.ArrowException as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path} is a damaged Parquet file ({first})", remedy=_REMEDY) from error
    except OSError as error:
        # Damage within the pages is an OSError without a number.
        reason = error.strerror or (str(error).splitlines() or ["damaged"])[0]
        raise DataError(f"{path} cannot be read ({reason})", remedy=_REMEDY) from error
    if None in raw or None in labels:
        raise DataError(f"{path} has rows without a text or a label", remedy=_REMEDY)
    try:
        return [(text.decode("utf-8"), label) for text, label in zip(raw, labels, strict=True)]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} has a text that is not UTF-8", remedy=_REMEDY) from error
