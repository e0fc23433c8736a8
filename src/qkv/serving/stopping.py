"""Signals: the first asks the server to stop in order, the second ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event of the running loop that the first SIGINT or SIGTERM sets.

    A second signal ends the process at once, with 128 and the signal's number as shells have it.
    To be used in the main thread.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    seen = False

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal seen
        if seen:
            end_process(128 + number)
        seen = True
        loop.call_soon_threadsafe(asked.set)

    # Not the loop's own handlers: these also run while a callback keeps the loop busy.
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_process(code: int) -> None:
    """End the process without waiting for threads that compute."""
    sys.stderr.flush()
    os._exit(code)
