"""Time several things in turn, so that all of them see the same noise of the machine."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

# Just below the most that glibc's moving threshold (`man mallopt`, M_MMAP_THRESHOLD) can reach.
_KEPT_BYTES = 31 * 2**20


def settle_allocator() -> None:
    """Let the C library keep the memory that is freed from now on.

    glibc begins by asking the system anew for every large block and giving it back at once. The
    first large block that is freed ends that, as it does early in any real program. Before it, who
    happens to come first would pay for the system's pages of everyone.
    """
    bytearray(_KEPT_BYTES)


def interleaved(
    cases: Mapping[str, Callable[[], None]],
    rounds: int,
    warmup_rounds: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[float]]:
    """Call every case once a round, in order: A B C, A B C, and so on.

    The garbage collector runs between rounds and never inside a timed call.

    Args:
        cases: what to time, by name; each call returns when its work is done.
        rounds: timed rounds, at least one.
        warmup_rounds: rounds before them, which are not counted.
        progress: called with (done, total) rounds, warm-up included.

    Returns:
        Seconds of each timed call by name; entry i of every list is of the same round.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}, not at least 1")
    settle_allocator()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    collects = gc.isenabled()
    gc.disable()
    try:
        for index in range(warmup_rounds + rounds):
            gc.collect()
            for name, call in cases.items():
                started = time.perf_counter()
                call()
                elapsed = time.perf_counter() - started
                if index >= warmup_rounds:
                    seconds[name].append(elapsed)
            if progress is not None:
                progress(index + 1, warmup_rounds + rounds)
    finally:
        if collects:
            gc.enable()
    return seconds


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower quartile, median and upper quartile, interpolated within the range of the values."""
    if len(values) == 1:
        return [values[0]] * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def round_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """The ratio of each round; its median is steadier than the ratio of the medians."""
    return [top / bottom for top, bottom in zip(numerators, denominators, strict=True)]
