"""Counts on standard error: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qkv.cli.console import draws, messages_console, say

SECONDS_BETWEEN_LINES = 5.0
BAR_COLUMNS = 16


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """What shows (done, total) under the heading `what`."""
    if not draws(sys.stderr):
        yield _count_in_lines(what)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    with Progress(
        TextColumn(what, markup=False),
        BarColumn(bar_width=BAR_COLUMNS),
        MofNCompleteColumn(),
        console=messages_console(),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _count_in_lines(what: str) -> Callable[[int, int], None]:
    spoken_at = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal spoken_at
        now = time.monotonic()
        if now - spoken_at >= SECONDS_BETWEEN_LINES:
            spoken_at = now
            say(f"{what}: {done:,} of {total:,}")

    return show
