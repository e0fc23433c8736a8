"""Answers written one by one, so that thousands need no memory: a table or a JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from qkv.answers import FailedInput, Prediction
from qkv.cli.console import printable

Answer = Prediction | FailedInput
Write = Callable[[Answer], None]
WIDEST_INPUT = 60


@contextmanager
def json_document(stream: TextIO) -> Iterator[Write]:
    """What writes one document, `{"predictions": [...]}`, an answer a line."""
    separator = ""

    def write(answer: Answer) -> None:
        nonlocal separator
        stream.write(f"{separator}\n  {json.dumps(entry(answer))}")
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
    """What writes aligned columns: the input, then the likeliest classes with their probability.

    Args:
        stream: where to; the head is written at once.
        class_names: all classes, for the width of their column.
        widest_input: letters of the longest input, for the width of the first column.
        top_k: classes shown.
        one_line: cut inputs to their column, as texts may be long; names of files stay whole.
    """
    shown = min(top_k, len(class_names))
    input_width = min(max(widest_input, len("input")), WIDEST_INPUT)
    label_width = max(len("class"), *(len(printable(name)) for name in class_names))

    def cell(name: str) -> str:
        if one_line:
            return shortened(name, input_width)
        return f"{printable(name):<{input_width}}"

    def write_row(name: str, classes: Sequence[tuple[str, str]]) -> None:
        cells = [f"{printable(label):<{label_width}}  {share:>11}" for label, share in classes]
        stream.write("  ".join([cell(name), *cells]) + "\n")

    def write(answer: Answer) -> None:
        if isinstance(answer, FailedInput):
            name, reason = printable(answer.input), printable(answer.error)
            reason = reason.removeprefix(name).removeprefix(":").lstrip()
            stream.write(f"{cell(answer.input)}  error: {reason}\n")
            return
        ranked = sorted(answer.probabilities.items(), key=lambda item: -item[1])[:shown]
        write_row(answer.input, [(name, f"{100 * share:.2f} %") for name, share in ranked])

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


def entry(answer: Answer) -> dict[str, Any]:
    """The JSON entry of an answer: a prediction, or an input with its error."""
    return dict(vars(answer))
