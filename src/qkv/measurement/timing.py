"""Time several things in turn, so that all of them see the same noise of the machine."""

from __future__ import annotations

import gc
import math
import statistics
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

# Just below the most that glibc's moving threshold (`man mallopt`, M_MMAP_THRESHOLD) can reach.
_KEPT_BYTES = 31 * 2**20


def interleaved(
    cases: Mapping[str, Callable[[], object]],
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
    # glibc begins by asking the system anew for every large block and giving it back at once. The
    # first large block that is freed ends that, as it does early in any real program. Before it,
    # the case that comes first would pay for the system's pages of everyone.
    bytearray(_KEPT_BYTES)
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
    repeated = {
        name: partial(timeit.Timer(call).timeit, calls[name]) for name, call in cases.items()
    }
    seconds = interleaved(repeated, rounds, 0)
    return {
        name: Samples([sample / calls[name] for sample in values], calls[name])
        for name, values in seconds.items()
    }


def speed_ratio(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> float:
    """How many times as fast as `theirs` is `ours`: the median over interleaved rounds."""
    samples = sampled({"ours": ours, "theirs": theirs}, rounds)
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


MULTIPLE = 16
ROUNDS = 9

# Prepares everything for a length and returns the call to time.
Prepare = Callable[[int], Callable[[], object]]


class Crossing(NamedTuple):
    """Where ours catches up with theirs.

    Attributes:
        tokens: the least measured length at which ours is at least as fast, and at every longer
            measured length too; None if ours is slower at the longest.
        slower_at: the longest measured length at which ours is slower. None if there is none: then
            `tokens` is only the shortest length measured, and the crossing lies at or below it.
        ratios: time of theirs over time of ours, by length in ascending order.
    """

    tokens: int | None
    slower_at: int | None
    ratios: dict[int, float]


def bracket(ratios: Mapping[int, float]) -> Crossing:
    """The crossing as far as given ratios (time of theirs over ours) tell, by length.

    Raises:
        ValueError: there are none.
    """
    if not ratios:
        raise ValueError("no length was measured")
    in_order = dict(sorted(ratios.items()))
    slower_at = max((tokens for tokens, ratio in in_order.items() if ratio < 1), default=None)
    later = [tokens for tokens in in_order if slower_at is None or tokens > slower_at]
    return Crossing(later[0] if later else None, slower_at, in_order)


def refine(
    ratio_at: Callable[[int], float], ratios: Mapping[int, float], *, multiple: int = MULTIPLE
) -> Crossing:
    """Narrow a crossing by bisection between the two measured lengths around it.

    Args:
        ratio_at: measures time of theirs over time of ours at a length.
        ratios: what is already measured; never measured again.
        multiple: only multiples of this many tokens are tried.
    """
    crossing = bracket(ratios)
    while crossing.tokens is not None and crossing.slower_at is not None:
        first = crossing.slower_at // multiple + 1
        last = -(-crossing.tokens // multiple) - 1
        if first > last:
            break
        middle = (first + last) // 2 * multiple
        crossing = bracket({**crossing.ratios, middle: ratio_at(middle)})
    return crossing


def crossing_tokens(
    ours: Prepare, theirs: Prepare, lengths: Sequence[int], *, rounds: int = ROUNDS
) -> Crossing:
    """`speed_ratio` at every length, then bisection where the faster one changes.

    Args:
        ours: prepares a length and returns the call to time.
        theirs: the same for what it is compared with.
        lengths: in tokens, to be measured first.
        rounds: samples of each at each length.

    Raises:
        ValueError: `lengths` is empty.
    """

    def ratio_at(tokens: int) -> float:
        return speed_ratio(ours(tokens), theirs(tokens), rounds)

    return refine(ratio_at, {tokens: ratio_at(tokens) for tokens in lengths})
