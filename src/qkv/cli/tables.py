"""The one look of all tables."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from qkv.cli.console import printable


def print_table(
    console: Console, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]
) -> None:
    """Print a table without a frame: its first column to the left, the others to the right."""
    # The title stands apart: rich would fold it to the width of a narrow table.
    console.print(f"\n{title}", style="bold", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        later = number > 0
        table.add_column(
            column, justify="right" if later else "left", no_wrap=later, overflow="fold"
        )
    for row in rows:
        table.add_row(*map(printable, row))
    console.print(table)
