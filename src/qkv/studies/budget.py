"""The time and memory that a study may take."""

from __future__ import annotations

import time
from collections.abc import Callable

from qkv.errors import StudyError
from qkv.measurement.memory import free_bytes

DEFAULT_MEMORY_MIB = 4096
_MIB = 2**20


class Budget:
    """Says what does not fit any more; it stops nothing by itself.

    Args:
        max_seconds: for everything from now on.
        max_bytes: for everything held at one moment.
        clock: seconds that only grow.

    Raises:
        StudyError: a limit is not positive.
    """

    def __init__(
        self, max_seconds: float, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not 0 < max_seconds < float("inf"):
            raise StudyError(
                f"--max-seconds is {max_seconds:g}", remedy="give a positive number of seconds"
            )
        if max_bytes <= 0:
            raise StudyError(
                f"--max-memory-mib is {max_bytes // _MIB}", remedy="give a positive number of MiB"
            )
        self.max_seconds = max_seconds
        self.max_bytes = max_bytes
        self._clock = clock
        self._started = clock()

    @property
    def spent_seconds(self) -> float:
        """Since the budget was made."""
        return self._clock() - self._started

    def refusal(self, seconds: float, needed_bytes: int, *, share: float = 1.0) -> str | None:
        """Why work does not fit, in a word or two, or None if it does.

        Args:
            seconds: that it will take, by prediction.
            needed_bytes: that it will hold, by prediction.
            share: of all the seconds, how much may be spent after it.
        """
        if needed_bytes > self.max_bytes:
            return f"needs {as_bytes(needed_bytes)}"
        left = share * self.max_seconds - self.spent_seconds
        if seconds <= left:
            return None
        return f"needs {as_seconds(seconds)}" if left > 0 else "no time left"


def default_memory_mib() -> int:
    """4,096, or half of what is free where that is less."""
    free = free_bytes()
    if free is None:
        return DEFAULT_MEMORY_MIB
    return max(1, min(DEFAULT_MEMORY_MIB, free // 2 // _MIB))


def as_bytes(count: float) -> str:
    """Bytes for people, such as 16 GiB."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB" if count < 999.5 else f"{count:,.0f} TiB"


def as_seconds(seconds: float) -> str:
    """Seconds for people, such as 40 s or 3.1 h."""
    if seconds < 600:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
