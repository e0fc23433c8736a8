"""Answers in a file: CSV, JSONL or Parquet, whole or not at all."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from qkv.answers import FailedInput
from qkv.cli.answer_writers import Answer, Write, entry
from qkv.errors import DataError, MissingExtraError

ROWS_IN_GROUP = 10_000
FIXED_COLUMNS = ("input", "label", "probability", "error")


@contextmanager
def _jsonl(path: Path, class_names: Sequence[str]) -> Iterator[Write]:  # noqa: ARG001
    """One JSON object a line, as in the `--json` document."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda answer: _discard(file.write(json.dumps(entry(answer)) + "\n"))


@contextmanager
def _csv(path: Path, class_names: Sequence[str]) -> Iterator[Write]:
    """A head, then a row an answer; what does not apply is left empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns(class_names))
        yield lambda answer: _discard(rows.writerow(row(answer, class_names)))


@contextmanager
def _parquet(path: Path, class_names: Sequence[str]) -> Iterator[Write]:
    """The columns of the CSV file with their types; what does not apply is null."""
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    text, number = pyarrow.string(), pyarrow.float64()
    kinds = [text, text, number, text, *(number for _ in class_names)]
    schema = pyarrow.schema(list(zip(columns(class_names), kinds, strict=True)))
    waiting: list[list[Any]] = []

    with pyarrow.parquet.ParquetWriter(path, schema) as file:

        def write_group() -> None:
            arrays = [
                pyarrow.array(list(values), type=kind)
                for values, kind in zip(zip(*waiting, strict=True), kinds, strict=True)
            ]
            file.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            waiting.clear()

        def write(answer: Answer) -> None:
            waiting.append(row(answer, class_names))
            if len(waiting) == ROWS_IN_GROUP:
                write_group()

        yield write
        if waiting:
            write_group()


FORMATS: dict[str, Callable[[Path, Sequence[str]], AbstractContextManager[Write]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}


def check_answer_file(path: Path) -> None:
    """Refuse, before any work, a file that could not be written in the end.

    Raises:
        DataError: its suffix is unknown, or it is a folder or in none.
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise DataError(
            f"--out {path} does not say its format",
            remedy=f"end its name in one of {', '.join(FORMATS)}",
        )
    if path.is_dir() or not path.absolute().parent.is_dir():
        why = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise DataError(f"cannot write {path}: {why}", remedy="choose another --out")
    if suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError(
            "a Parquet file needs pyarrow", remedy="pip install 'qkv[parquet]', or write .csv"
        )


@contextmanager
def answer_file(path: Path, class_names: Sequence[str]) -> Iterator[Write]:
    """What writes answers to a file that appears, or is replaced, once it is complete.

    Args:
        path: the file; its suffix chooses the format.
        class_names: the classes, in column order.

    Raises:
        DataError: it cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    except OSError as error:
        raise _cannot_write(path, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        with FORMATS[path.suffix.lower()](temporary, class_names) as write:
            yield write
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp keeps a file to its owner
        temporary.replace(path)
    except BrokenPipeError:
        raise  # standard output has lost its reader; the file is not to blame
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def columns(class_names: Sequence[str]) -> list[str]:
    """The head of a flat table of answers."""
    return [*FIXED_COLUMNS, *(f"probability_{name}" for name in class_names)]


def row(answer: Answer, class_names: Sequence[str]) -> list[str | float | None]:
    """An answer under that head."""
    if isinstance(answer, FailedInput):
        return [_text(answer.input), None, None, _text(answer.error), *(None for _ in class_names)]
    shares = (answer.probabilities[name] for name in class_names)
    return [_text(answer.input), answer.label, answer.probability, None, *shares]


def _text(name: str) -> str:
    """A name as valid Unicode: file systems allow bytes that are no letters."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _discard(result: object) -> None:
    """Make a writer of a call whose result (bytes written) is of no use."""


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write {path}: {error.strerror or error}",
        remedy="free the disk or choose another --out",
    )
