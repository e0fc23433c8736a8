"""The highest rate that a server bears, and qkv compared by it with both baselines.

A search brackets the rate, halves the bracket, and confirms what it found. The systems under test
are gated by their answers first, measured one request at a time, and then searched in turn.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

from benchmarks.serving.load import LoadGenerator, Target, read_scores, request_bytes
from benchmarks.serving.servers import Kind, Setup
from benchmarks.serving.workload import TOLERANCES, Workload, require_same_scores
from qkv.errors import QKVError
from qkv.measurement.timing import quartiles, round_ratios

LEAST_LIMIT_MS = 130.0
SOLO_FACTOR = 3.0
# Each request would wake the generator, which has its processor from the server: at 1,500 a second
# it would take a quarter of a core, and from the faster server more than from the slower.
TICK_SECONDS = 0.002
OVERLOAD_TICK_SECONDS = 0.005
SETTLE_SECONDS = 60.0
# However slow a server is, a try without a request says nothing.
FEWEST_REQUESTS = 5
# A round begins a little below the rate of the one before, which may have been lucky.
HEADROOM = 1.06

Offer = Callable[[float, float], dict[str, Any]]
"""Offers a rate for some seconds; what `OpenLoop.run` returns."""


@dataclass(frozen=True)
class Search:
    """How finely and how long is searched."""

    limit_ms: float = LEAST_LIMIT_MS  # the 99th percentile of latencies must not exceed it
    least_requests: int = 300  # in a try, for a 99th percentile that means something
    try_seconds: tuple[float, float] = (2.5, 6.0)  # the least and the most that a try lasts
    confirm_seconds: float = 8.0  # the last try, at the rate that is reported; 0: as any other
    step: float = 1.12  # factor between rates until one is borne and one is not
    # the highest rate borne and the lowest not borne differ by no more, as a share
    precision: float = 0.04
    chances: int = 2  # to bear a rate, before it counts as too high: a machine has hiccups
    ceiling: float = math.inf  # requests a second beyond which is not searched
    most_tries: int = 40  # a server that ends neither way by then is not measurable

    def seconds_at(self, rate: float) -> float:
        """How long a try at that rate lasts."""
        least, most = self.try_seconds
        return max(min(max(self.least_requests / rate, least), most), FEWEST_REQUESTS / rate)


@dataclass(frozen=True)
class Found:
    """What a search found."""

    rate: float  # requests a second, confirmed
    confirmed: dict[str, Any]  # the load that confirmed it
    # every try: rate, seconds, whether it was borne, 99th percentile in ms
    tried: list[dict[str, Any]] = field(default_factory=list)


def is_borne(load: dict[str, Any], limit_ms: float) -> bool:
    """Whether a server bore a load: no error, and a 99th percentile within the limit."""
    if load["errors"] or load["given_up"]:
        return False
    return not load["due"] or bool(load["latency_ms"]["p99"] <= limit_ms)


def highest_rate(offer: Offer, start: float, search: Search) -> Found:
    """Find the highest rate that is borne.

    A rate that is not confirmed is lowered by the precision.

    Args:
        offer: offers a rate.
        start: a guess, requests a second.
        search: how to search.

    Raises:
        QKVError: nothing was borne, or everything, within the tries allowed.
    """
    tried: list[dict[str, Any]] = []

    def bears(rate: float, seconds: float | None = None) -> dict[str, Any] | None:
        for _ in range(search.chances):
            if len(tried) >= search.most_tries:
                raise QKVError(
                    f"no highest rate after {len(tried)} tries; the last was {rate:.3g} a second",
                    remedy="measure on a machine that does nothing else",
                )
            load = offer(rate, seconds or search.seconds_at(rate))
            good = is_borne(load, search.limit_ms)
            tried.append(
                {
                    "rate": rate,
                    "seconds": load["sending_seconds"],
                    "borne": good,
                    "p99_ms": load["latency_ms"].get("p99"),
                }
            )
            if good:
                return load
        return None

    low, high = _bracket(lambda rate: bears(rate) is not None, start, search)
    while high / low > 1 + search.precision:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if bears(middle) is None else (middle, high)
    while (confirmed := bears(low, search.confirm_seconds)) is None:
        low /= 1 + search.precision
    return Found(low, confirmed, tried)


def _bracket(bears: Callable[[float], bool], start: float, search: Search) -> tuple[float, float]:
    """A rate that is borne, and a higher one that is not, or the same at the ceiling."""
    rate = start
    if not bears(rate):
        while not bears(rate / search.step):
            rate /= search.step
        return rate / search.step, rate
    while rate * search.step <= search.ceiling:
        if not bears(rate * search.step):
            return rate, rate * search.step
        rate *= search.step
    return rate, rate


class SystemUnderTest:
    """A started server that can be measured; a context manager.

    Entered, it has given the expected answers to `workload` and has been measured with `solo`
    requests one at a time: `solo_ms` is their median latency. Under load its 99th percentile may be
    `limit_ms`, `least_limit_ms` at least. `off_by` is the greatest error of a score.

    Raises:
        QKVError: on entering: the server does not start, fails, or gives wrong answers.
    """

    _numbers = itertools.count()

    def __init__(
        self,
        setup: Setup,
        workload: Workload,
        generator: LoadGenerator,
        *,
        solo: int,
        least_limit_ms: float = LEAST_LIMIT_MS,
    ) -> None:
        self.setup = setup
        self.server = setup.process(workload.folder, workload.task)
        self._workload = workload
        self._generator = generator
        self._solo = solo
        self._least_limit_ms = least_limit_ms
        self._target = f"{next(self._numbers)}"

    def __enter__(self) -> Self:
        self.server.__enter__()
        try:
            self._check_answers()
            self._measure_solo()
        except BaseException:
            self.server.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()

    def saturate(self, concurrency: int, seconds: float) -> dict[str, Any]:
        """So many requests always under way, for a time."""
        return self._generator.saturate(self._target, concurrency, seconds)

    def overload(
        self, rate: float, seconds: float, *, seed: int, patience_seconds: float
    ) -> dict[str, Any]:
        """A load that is not given up, whatever becomes of it."""
        return self._generator.open_loop(
            self._target,
            rate,
            seconds,
            seed=seed,
            patience_seconds=patience_seconds,
            tick_seconds=OVERLOAD_TICK_SECONDS,
        )

    def highest_rate(self, start: float, search: Search, seed: int) -> Found:
        """Search for the highest rate; the server is paused after it."""
        seeds = itertools.count(1000 * seed)

        def offer(rate: float, seconds: float) -> dict[str, Any]:
            self.settle()
            return self._generator.open_loop(
                self._target,
                rate,
                seconds,
                seed=next(seeds),
                limit_seconds=self.limit_ms / 1000,
                tick_seconds=TICK_SECONDS,
            )

        self.server.resume()
        try:
            return highest_rate(offer, start, replace(search, limit_ms=self.limit_ms))
        finally:
            self.server.require_alive()
            self.server.pause()

    def settle(self) -> None:
        """Wait until what an earlier load left behind is done."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            solo = self._generator.one_at_a_time(self._target, 3)
            if solo["answered"] == 3 and solo["latency_ms"]["p50"] <= 2 * self.solo_ms + 5:
                return
            self.server.require_alive()
            time.sleep(0.1)
        raise QKVError(
            f"{self.setup.name} did not come to rest within {SETTLE_SECONDS:g} s",
            remedy="measure on a machine that does nothing else",
        )

    def facts(self) -> dict[str, Any]:
        """How it is set up, and what it is like one request at a time."""
        return {
            "options": dict(self.setup.options),
            "solo_median_ms": self.solo_ms,
            "p99_limit_ms": self.limit_ms,
            "scores_off_by": self.off_by,
            "memory_mb": self.server.memory_bytes() / 1e6,
        }

    def _check_answers(self) -> None:
        """From then on, an answer that is off by more than the tolerance counts as an error."""
        workload, inputs = self._workload, self._workload.inputs
        path = self.setup.predict_path(workload.folder.name)
        answers = self.server.post_each(path, inputs.content_type, inputs.bodies)
        try:
            scores = [read_scores(body) for body in answers]
        except ValueError as error:
            raise QKVError(
                f"{self.setup.name} answered with {error}", remedy="mend the one that is wrong"
            ) from None
        self.off_by = require_same_scores(self.setup.name, workload, scores)
        port = self.server.port
        requests = [request_bytes(port, path, inputs.content_type, body) for body in inputs.bodies]
        target = Target(port, requests, workload.expected, TOLERANCES[workload.task])
        self._generator.add_target(self._target, target)

    def _measure_solo(self) -> None:
        self._generator.one_at_a_time(self._target, max(3, self._solo // 4))
        solo = self._generator.one_at_a_time(self._target, self._solo)
        if solo["errors"]:
            raise QKVError(
                f"{self.setup.name} failed one at a time: {solo['by_status']}",
                remedy="run its command by itself to see why",
            )
        self.solo_ms: float = solo["latency_ms"]["p50"]
        self.limit_ms = max(self._least_limit_ms, SOLO_FACTOR * self.solo_ms)


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    solo: int = 60  # requests one at a time
    # for the 99th percentile, however quick a server is alone
    least_limit_ms: float = LEAST_LIMIT_MS
    rounds: int = 5  # measurements of every server
    guess: float = 50.0  # requests a second, where nothing is known yet
    # the search while nothing is known
    first: Search = field(
        default_factory=lambda: Search(
            try_seconds=(1.5, 4.0), confirm_seconds=0.0, step=2.0, precision=0.12, chances=1
        )
    )
    search: Search = field(default_factory=Search)  # the search around a rate that is known


class Comparison:
    """The measurements of one task: qkv and both baselines.

    Args:
        workload: what is served and sent.
        effort: how much is measured.
        generator: makes the load.
        advance: called after each search.
        note: told what was found.
    """

    def __init__(
        self,
        workload: Workload,
        effort: Effort,
        generator: LoadGenerator,
        *,
        advance: Callable[[], None],
        note: Callable[[str], None],
    ) -> None:
        self._workload = workload
        self._effort = effort
        self._generator = generator
        self._advance = advance
        self._note = note

    def choose(self, setups: Sequence[Setup]) -> tuple[Setup, float | None, list[dict[str, Any]]]:
        """The setup that bears the highest rate, that rate, and all of them with their rates.

        A setup without a choice is not measured.
        """
        if len(setups) == 1:
            return setups[0], None, []
        rates: list[float] = []
        for setup in setups:
            with self._started(setup) as system:
                guess = max(rates, default=self._effort.guess)
                rates.append(self._search(system, guess, self._effort.first, 0).rate)
        best = max(range(len(setups)), key=rates.__getitem__)
        tried = [
            {"options": dict(setup.options), "requests_per_second": rate}
            for setup, rate in zip(setups, rates, strict=True)
        ]
        return setups[best], rates[best], tried

    def measure(
        self, setups: Mapping[Kind, Setup], guesses: Mapping[Kind, float]
    ) -> tuple[dict[Kind, dict[str, Any]], dict[Kind, list[float]]]:
        """Search in turn: A B C, A B C, and so on.

        Args:
            setups: the servers; all are up all the time, and paused when it is not their turn.
            guesses: their rates as far as they are known; others are searched once before.

        Returns:
            The figures of each server, and the rate of qkv over that of each baseline, by round.
        """
        rates = dict(guesses)
        found: dict[Kind, list[Found]] = {kind: [] for kind in setups}
        with ExitStack() as stack:
            systems = {
                kind: stack.enter_context(self._started(setup)) for kind, setup in setups.items()
            }
            for kind, system in systems.items():
                if kind not in rates:
                    guess = max(guesses.values(), default=self._effort.guess)
                    rates[kind] = self._search(system, guess, self._effort.first, 0).rate
            for number in range(1, self._effort.rounds + 1):
                for kind, system in systems.items():
                    start = rates[kind] / HEADROOM
                    search = self._search(system, start, self._effort.search, number)
                    rates[kind] = search.rate
                    found[kind].append(search)
            figures = {
                kind: {**system.facts(), **_summary(found[kind])}
                for kind, system in systems.items()
            }
        by_round = {kind: [one.rate for one in searches] for kind, searches in found.items()}
        ours = by_round.pop("qkv")
        return figures, {kind: round_ratios(ours, theirs) for kind, theirs in by_round.items()}

    @contextmanager
    def _started(self, setup: Setup) -> Iterator[SystemUnderTest]:
        effort = self._effort
        with SystemUnderTest(
            setup,
            self._workload,
            self._generator,
            solo=effort.solo,
            least_limit_ms=effort.least_limit_ms,
        ) as system:
            system.server.pause()
            yield system

    def _search(self, system: SystemUnderTest, guess: float, search: Search, number: int) -> Found:
        found = system.highest_rate(guess, search, number)
        self._advance()
        setup = system.setup
        options = "".join(f" {name}={value}" for name, value in setup.options.items())
        self._note(
            f"{self._workload.task}, {f'round {number}' if number else 'first search'}, "
            f"{setup.name}{options}: {found.rate:,.0f} a second, "
            f"p99 {found.confirmed['latency_ms']['p99']:.0f} of {system.limit_ms:.0f} ms, "
            f"{len(found.tried)} tries"
        )
        return found


def _summary(searches: Sequence[Found]) -> dict[str, Any]:
    """The rate of a server, and what its confirming loads were like."""
    rates = [one.rate for one in searches]
    confirmed = [one.confirmed for one in searches]
    return {
        "requests_per_second": statistics.median(rates),
        "quartiles_requests_per_second": quartiles(rates),
        "median_ms": [load["latency_ms"]["p50"] for load in confirmed],
        "p99_ms": [load["latency_ms"]["p99"] for load in confirmed],
        "generator_lag_p99_ms": [load["lag_ms"]["p99"] for load in confirmed],
        "generator_cpu_share": [load["generator_cpu_share"] for load in confirmed],
        "answers_checked": sum(load["answered"] for load in confirmed),
        "bursts": [load for one in searches for load in one.tried],
    }
