"""Predictions as a table, as JSON, or in a file: CSV, JSONL or Parquet."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO

from qkv.cli.console import printable
from qkv.cli.options import check_out
from qkv.errors import DataError, MissingExtraError
from qkv.files import replacing
from qkv.predictions import FailedInput, Prediction

Result = Prediction | FailedInput
Write = Callable[[Result], object]
WIDEST_INPUT = 60


@contextmanager
def json_document(stream: TextIO) -> Iterator[Write]:
    """A writer of one document, `{"predictions": [...]}`, one prediction a line."""
    separator = ""

    def write(result: Result) -> None:
        nonlocal separator
        stream.write(f"{separator}\n  {json.dumps(vars(result))}")
        separator = ","

    stream.write('{"predictions": [')
    yield write
    stream.write("\n]}\n")


def table(
    stream: TextIO,
    class_names: Sequence[str],
    widest_input: int,
    top_k: int,
    *,
    one_line: bool = False,
) -> Write:
    """A writer of aligned columns: the input, then the `top_k` classes with their probability.

    The head is written at once. `widest_input` are the letters of the longest input; with
    `one_line` inputs are cut to their column, as texts may be long; names of files stay whole.
    """
    shown = min(top_k, len(class_names))
    input_width = min(max(widest_input, len("input")), WIDEST_INPUT)
    label_width = max(len("class"), *(len(printable(name)) for name in class_names))

    def cell(name: str) -> str:
        return shortened(name, input_width) if one_line else f"{printable(name):<{input_width}}"

    def write_row(name: str, classes: Sequence[tuple[str, str]]) -> None:
        cells = [f"  {printable(label):<{label_width}}  {share:>11}" for label, share in classes]
        stream.write(f"{cell(name)}{''.join(cells)}\n")

    def write(result: Result) -> None:
        if isinstance(result, FailedInput):
            name, reason = printable(result.input), printable(result.error)
            reason = reason.removeprefix(name).removeprefix(":").lstrip()
            stream.write(f"{cell(result.input)}  error: {reason}\n")
            return
        ranked = sorted(result.probabilities.items(), key=lambda item: -item[1])[:shown]
        write_row(result.input, [(name, f"{100 * share:.2f} %") for name, share in ranked])

    write_row("input", [("class", "probability")] * shown)
    return write


def shortened(text: str, width: int) -> str:
    """A text on one line of exactly `width` columns of a terminal, cut with an ellipsis."""
    from rich.cells import cell_len, set_cell_size

    # A letter may take no column at all, but hardly three of four.
    line = printable(" ".join(text.split())[: 4 * width])
    if cell_len(line) > width:
        line = set_cell_size(line, width - 1).rstrip() + "…"
    return set_cell_size(line, width)


ROWS_IN_GROUP = 10_000


@contextmanager
def _jsonl(path: Path, class_names: Sequence[str]) -> Iterator[Write]:  # noqa: ARG001
    """One JSON object a line, as in the `--json` document."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda result: file.write(json.dumps(vars(result)) + "\n")


@contextmanager
def _csv(path: Path, class_names: Sequence[str]) -> Iterator[Write]:
    """A head, then a row an input; what does not apply is left empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, _columns(class_names))
        rows.writeheader()
        yield lambda result: rows.writerow(_row(result, class_names))


@contextmanager
def _parquet(path: Path, class_names: Sequence[str]) -> Iterator[Write]:
    """The columns of the CSV file with their types; what does not apply is null."""
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    text, number = pyarrow.string(), pyarrow.float64()
    kinds = [text, text, number, text, *(number for _ in class_names)]
    schema = pyarrow.schema(list(zip(_columns(class_names), kinds, strict=True)))
    waiting: list[dict[str, Any]] = []

    with pyarrow.parquet.ParquetWriter(path, schema) as file:

        def write_group() -> None:
            file.write_table(pyarrow.Table.from_pylist(waiting, schema=schema))
            waiting.clear()

        def write(result: Result) -> None:
            waiting.append(_row(result, class_names))
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


def check_prediction_file(path: Path) -> None:
    """Refuse, before any work, a file that could not be written in the end.

    Raises:
        DataError: see `check_out`.
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    check_out(path, FORMATS)
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError(
            "a Parquet file needs pyarrow", remedy="pip install 'qkv[parquet]', or write .csv"
        )


@contextmanager
def prediction_file(path: Path, class_names: Sequence[str]) -> Iterator[Write]:
    """A writer of a file, in the format of its suffix, that appears once it is complete.

    Raises:
        DataError: it cannot be written.
    """
    try:
        write_as = FORMATS[path.suffix.lower()]
        with replacing(path) as temporary, write_as(temporary, class_names) as write:
            yield write
    except BrokenPipeError:
        raise  # standard output has lost its reader; the file is not to blame
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}",
            remedy="free the disk or choose another --out",
        ) from None


def _columns(class_names: Sequence[str]) -> list[str]:
    return ["input", "label", "probability", "error", *map("probability_{}".format, class_names)]


def _row(result: Result, class_names: Sequence[str]) -> dict[str, str | float]:
    """A prediction by column, without those that do not apply."""
    if isinstance(result, FailedInput):
        return {"input": _text(result.input), "error": _text(result.error)}
    return {
        "input": _text(result.input),
        "label": result.label,
        "probability": result.probability,
        **{f"probability_{name}": result.probabilities[name] for name in class_names},
    }


def _text(name: str) -> str:
    """A name as valid Unicode: file systems allow bytes that are no letters."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
