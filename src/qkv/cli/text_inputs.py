"""Texts for a classifier: those that are named, and the lines of standard input as they come."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from qkv.answers import FailedInput, Prediction
from qkv.errors import DataError

if TYPE_CHECKING:
    from qkv.text.classifier import TextClassifier

CHUNK_BYTES = 1 << 16
LONGEST_LINE_BYTES = 1 << 26
"""A longer line must be something else than a text; the rest of it is passed over."""


def refuse_file(text: str) -> None:
    """Stop where a text is the name of a file that is there, and ends like one of data.

    Raises:
        DataError: naming what reads it.
    """
    from qkv.cli.own_data import kind_of_data
    from qkv.data.table_readers import is_table

    path = Path(text)
    try:
        found = path.is_file() and kind_of_data(path) is not None
    except (OSError, ValueError):  # too long, or with a NUL: no name of a file
        return
    if found:
        remedy = "give the text itself, or one text a line on standard input with -"
        if is_table(path):
            remedy = f"classify its texts with --file {shlex.quote(text)}"
        raise DataError(f"{text} is a file, and its name was given as a text", remedy=remedy)


def answer_lines(
    classifier: TextClassifier, stream: BinaryIO, batch_size: int
) -> Iterator[Prediction | FailedInput]:
    """An answer for each line; an empty or undecodable one does not stop the others.

    Lines are answered together as far as they have come, so none waits for a later one.
    """
    number = 0
    for batch in line_batches(stream, batch_size):
        read: list[str | FailedInput] = []
        for line in batch:
            number += 1
            read.append(_decoded(line, number))
        texts = [item for item in read if isinstance(item, str)]
        answers = classifier.predict_each(texts, batch_size=batch_size)
        for item in read:
            yield next(answers) if isinstance(item, str) else item


def line_batches(stream: BinaryIO, at_once: int) -> Iterator[list[bytes]]:
    r"""The lines of a stream without their ends (`\n` or `\r\n`), as many as have come.

    Args:
        stream: read in what chunks it gives.
        at_once: lines of a batch at most.
    """
    read = getattr(stream, "read1", stream.read)
    begun = bytearray()
    while chunk := read(CHUNK_BYTES):
        *lines, last = chunk.split(b"\n")
        if lines:
            lines[0] = bytes(begun) + lines[0]
            begun = bytearray(last)
        elif len(begun) <= LONGEST_LINE_BYTES:
            begun += last
        for start in range(0, len(lines), at_once):
            yield [line.removesuffix(b"\r") for line in lines[start : start + at_once]]
    if begun:
        yield [bytes(begun).removesuffix(b"\r")]


def standard_input() -> BinaryIO:
    """Standard input as bytes: its encoding is UTF-8, whatever the locale says."""
    return cast(BinaryIO, sys.stdin.buffer)


def _decoded(line: bytes, number: int) -> str | FailedInput:
    """The text of a line, or why it has none."""
    name = f"line {number:,}"
    if len(line) > LONGEST_LINE_BYTES:
        return FailedInput(name, f"{name} has more than {LONGEST_LINE_BYTES:,} bytes")
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return FailedInput(name, f"{name} has a byte 0x{line[error.start]:02x} that is not UTF-8")
    return text if text.strip() else FailedInput(name, f"{name} is empty")
