"""A function applied to many items by threads, results in order, a bounded number in flight."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 64


def ordered_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, with at most 64 results held.

    Args:
        function: thread-safe; worth threads when it leaves the interpreter lock, as decoding does.
        items: what to work on.
        progress: called with (items done, all items) after each 64.
    """
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), _CHUNK):
            chunk = items[start : start + _CHUNK]
            yield from list(pool.map(function, chunk))
            if progress:
                progress(start + len(chunk), len(items))
