"""The two streams: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Tables in a file or a pipe are not squeezed into the 80 columns that rich would assume.
PIPE_COLUMNS = 120


def results_console() -> Console:
    """A console on standard output."""
    return _console(sys.stdout)


def messages_console() -> Console:
    """A console on standard error."""
    return _console(sys.stderr)


def draws(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that can redraw a line."""
    return stream.isatty() and not _console(stream).is_dumb_terminal


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document on standard output, in ASCII so that no locale can spoil it."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def say(message: str) -> None:
    """Print one line on standard error."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """Text without control characters, which a file name could smuggle into a terminal."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    # Names of classes and files are printed as they are, never read as markup.
    return Console(
        file=stream,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if stream.isatty() else PIPE_COLUMNS,
    )
