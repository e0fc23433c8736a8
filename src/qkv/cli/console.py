"""The two streams: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
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
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def print_facts(console: Console, facts: Mapping[str, str], width: int) -> None:
    """Print a line for each fact, its name in `width` columns."""
    for name, text in facts.items():
        console.print(f"{name:<{width}}{printable(text)}", soft_wrap=True)


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


def print_table(
    console: Console, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]
) -> None:
    """Print a table without a frame: its first column to the left, the others to the right."""
    from rich.table import Table

    # The title stands apart: rich would fold it to the width of a narrow table.
    console.print(f"\n{title}", style="bold", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for later, column in enumerate(columns):
        table.add_column(
            column, justify="right" if later else "left", no_wrap=later > 0, overflow="fold"
        )
    for row in rows:
        table.add_row(*map(printable, row))
    console.print(table)


def print_machine(console: Console, document: Mapping[str, Any]) -> None:
    """Print the machine on which a document was measured."""
    facts = ", ".join(f"{name} {value}" for name, value in document["machine"].items())
    console.print(f"\nmachine: {printable(facts)}", soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds as `0.4 s`, `12 s`, `3 min 20 s` or `1 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def mebibytes(count: int) -> str:
    """Bytes as `812 MiB`, with a digit after the point below ten."""
    size = count / 2**20
    return f"{size:.1f} MiB" if size < 10 else f"{size:,.0f} MiB"


def percent(share: float) -> str:
    """A share as `84.97 %`."""
    return f"{100 * share:.2f} %"


def accuracy_with_interval(accuracy: float, interval: list[float]) -> str:
    """An accuracy as `84.97 % (95 % interval 84.26 % to 85.66 %)`."""
    return f"{percent(accuracy)} (95 % interval {shown_interval(interval)})"


def shown_interval(bounds: list[float]) -> str:
    """An interval of shares as `84.26 % to 85.66 %`."""
    return " to ".join(map(percent, bounds))


def counted(count: int, noun: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
