"""IMDB as the cache keeps it: one small file instead of fifty thousand."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qkv.errors import DataError
from qkv.runs import replace_file
from qkv.text.imdb.facts import CLASS_NAMES, SPLITS, ImdbFacts
from qkv.text.imdb.reviews import Pair, Reviews, gather

NAME = "reviews.jsonl.gz"

_FORMAT = "qkv imdb 1"
_REMEDY = "delete it"


def write_packed(reviews: Reviews, path: Path, *, source: str) -> None:
    """Keep the data set as JSON lines packed by gzip; the name exists only when all is there.

    The first line says the format, the source and the hash of each split, by which `read_packed`
    verifies. Each other line is a review: `{"split": …, "label": …, "text": …}`.

    Raises:
        RunError: the folder cannot be written or the disk is full.
    """
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", compresslevel=6, mtime=0) as file:
        head = {"format": _FORMAT, "source": source, "sha256": dict(reviews.sha256)}
        file.write(_line(head))
        for split in SPLITS:
            for text, label in reviews.pairs[split]:
                file.write(_line({"split": split, "label": CLASS_NAMES[label], "text": text}))
    replace_file(path, content.getvalue())


def read_packed(path: Path, facts: ImdbFacts) -> tuple[Reviews, str]:
    """The data set out of the cache's file, and where it came from.

    Raises:
        DataError: the file cannot be read, is damaged, or does not hold what its hashes say.
    """
    pairs: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    try:
        with gzip.open(path) as file:
            lines = _lines(file, path, facts.limits.total_bytes)
            head = json.loads(next(lines, b""))
            if head["format"] != _FORMAT:
                raise _damaged(path, f"its format is {head['format']!r}")
            hashes, source = dict(head["sha256"]), str(head["source"])
            for line in lines:
                row = json.loads(line)
                pairs[row["split"]].append((str(row["text"]), CLASS_NAMES.index(row["label"])))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", remedy="make it readable"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, "it is not as it was written") from error
    reviews = gather(pairs, facts, where=str(path), remedy=_REMEDY)
    if hashes != reviews.sha256:
        raise _damaged(path, "its texts do not match its hashes")
    return reviews, source


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _lines(file: gzip.GzipFile, path: Path, limit: int) -> Iterator[bytes]:
    """The lines of a file that may not unpack to more than `limit` bytes."""
    left = limit
    while line := file.readline(left + 1):
        left -= len(line)
        if left < 0:
            raise _damaged(path, f"it holds more than {limit:,} bytes")
        yield line


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged ({reason})", remedy=_REMEDY)
