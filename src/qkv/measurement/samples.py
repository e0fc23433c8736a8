"""Samples long enough to time, of calls that may be far too short."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from qkv.measurement.interleave import interleaved, round_ratios

# Far above the clock's grain and one hiccup of the scheduler.
LEAST_SAMPLE_SECONDS = 0.02
_TRIAL_CALLS = 3


class Samples(NamedTuple):
    """Timings of one case.

    Attributes:
        seconds: of one call, by round: each the mean over the calls of its sample.
        calls: in each sample.
    """

    seconds: list[float]
    calls: int


def sampled(
    cases: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    least_seconds: float = LEAST_SAMPLE_SECONDS,
) -> dict[str, Samples]:
    """Time every case once a round, interleaved, a short call as often as fills a sample.

    Each case is first called without being counted: once, and if that was short three times more,
    to see how many calls a sample needs.

    Args:
        cases: what to time, by name; each call returns when its work is done.
        rounds: samples of each case.
        least_seconds: how long a sample should last at least.
    """
    calls = {name: _calls_needed(call, least_seconds) for name, call in cases.items()}
    seconds = interleaved(
        {name: _repeated(call, calls[name]) for name, call in cases.items()}, rounds, 0
    )
    return {
        name: Samples([sample / calls[name] for sample in values], calls[name])
        for name, values in seconds.items()
    }


def speed_ratio(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int,
    *,
    least_seconds: float = LEAST_SAMPLE_SECONDS,
) -> float:
    """How many times as fast as `theirs` is `ours`: the median over interleaved rounds."""
    samples = sampled({"ours": ours, "theirs": theirs}, rounds, least_seconds=least_seconds)
    ratios = round_ratios(samples["theirs"].seconds, samples["ours"].seconds)
    return statistics.median(ratios)


def _calls_needed(call: Callable[[], object], least_seconds: float) -> int:
    elapsed = _timed(call)
    if elapsed < least_seconds:
        # The first call pays for what later ones find ready, so it says too much.
        elapsed = min(_timed(call) for _ in range(_TRIAL_CALLS))
    return max(1, math.ceil(least_seconds / max(elapsed, 1e-7)))


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _repeated(call: Callable[[], object], calls: int) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(calls):
            call()

    return repeat
