"""qkv against both baselines on one task: set up, checked equal, and measured in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.serving.contestant import LEAST_LIMIT_MS, Contestant
from benchmarks.serving.generator import LoadGenerator
from benchmarks.serving.rates import Found, Search
from benchmarks.serving.servers import Kind, Setup
from benchmarks.serving.subject import TOLERANCES, Subject, require_same_scores
from qkv.measurement.timing import quartiles, round_ratios

# A round begins a little below the rate of the one before, which may have been lucky.
HEADROOM = 1.06

Note = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        solo: requests one at a time.
        least_limit_ms: for the 99th percentile, however quick a server is alone.
        rounds: measurements of every server.
        guess: requests a second, where nothing is known yet.
        first: the search while nothing is known.
        search: the search around a rate that is known.
    """

    solo: int = 60
    least_limit_ms: float = LEAST_LIMIT_MS
    rounds: int = 5
    guess: float = 50.0
    first: Search = field(
        default_factory=lambda: Search(
            burst_seconds=(1.5, 4.0), confirm_seconds=0.0, step=2.0, precision=0.12, chances=1
        )
    )
    search: Search = field(default_factory=Search)


@dataclass(frozen=True)
class Measured:
    """A server in a contest.

    Attributes:
        facts: how it was set up, and what it is like one request at a time.
        searches: one a round.
    """

    facts: dict[str, Any]
    searches: list[Found]


class Contest:
    """The measurements of one task.

    Args:
        subject: what is served and sent.
        effort: how much is measured.
        generator: makes the load.
        advance: called after each search.
        note: told what was found.
    """

    def __init__(
        self,
        subject: Subject,
        effort: Effort,
        generator: LoadGenerator,
        *,
        advance: Callable[[], None],
        note: Note,
    ) -> None:
        self._subject = subject
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
            with self._started(setup) as contestant:
                guess = max(rates, default=self._effort.guess)
                rates.append(self._search(contestant, guess, self._effort.first, 0).rate)
        best = max(range(len(setups)), key=rates.__getitem__)
        tried = [
            {"options": dict(setup.options), "requests_per_second": rate}
            for setup, rate in zip(setups, rates, strict=True)
        ]
        return setups[best], rates[best], tried

    def compare(
        self, setups: Mapping[Kind, Setup], guesses: Mapping[Kind, float]
    ) -> dict[Kind, Measured]:
        """Search in turn: A B C, A B C, and so on; search i of each server is of the same round.

        Args:
            setups: the servers; all are up all the time, and paused when it is not their turn.
            guesses: their rates as far as they are known; others are searched once before.
        """
        rates = dict(guesses)
        found: dict[Kind, list[Found]] = {kind: [] for kind in setups}
        with ExitStack() as stack:
            contestants = {
                kind: stack.enter_context(self._started(setup)) for kind, setup in setups.items()
            }
            for kind, contestant in contestants.items():
                if kind not in rates:
                    guess = max(guesses.values(), default=self._effort.guess)
                    rates[kind] = self._search(contestant, guess, self._effort.first, 0).rate
            for number in range(1, self._effort.rounds + 1):
                for kind, contestant in contestants.items():
                    start = rates[kind] / HEADROOM
                    search = self._search(contestant, start, self._effort.search, number)
                    rates[kind] = search.rate
                    found[kind].append(search)
            return {
                kind: Measured(_facts(contestant), found[kind])
                for kind, contestant in contestants.items()
            }

    @contextmanager
    def _started(self, setup: Setup) -> Iterator[Contestant]:
        """A server that gives the expected answers, measured solo, and paused."""
        subject = self._subject
        contestant = Contestant(
            setup, subject.folder, subject.task, subject.inputs, self._generator
        )
        with contestant:
            contestant.off_by = require_same_scores(setup.name, subject, contestant.scores())
            contestant.expect(subject.expected, TOLERANCES[subject.task])
            contestant.measure_solo(self._effort.solo, self._effort.least_limit_ms)
            contestant.server.pause()
            yield contestant

    def _search(self, contestant: Contestant, guess: float, search: Search, number: int) -> Found:
        limited = replace(search, limit_ms=contestant.limit_ms)
        found = contestant.highest_rate(guess, limited, number)
        self._advance()
        setup = contestant.setup
        options = "".join(f" {name}={value}" for name, value in setup.options.items())
        self._note(
            f"{self._subject.task}, {f'round {number}' if number else 'first search'}, "
            f"{setup.name}{options}: {found.rate:,.0f} a second, "
            f"p99 {found.confirmed['latency_ms']['p99']:.0f} of {contestant.limit_ms:.0f} ms, "
            f"{len(found.tried)} bursts"
        )
        return found


def summary(measured: Measured) -> dict[str, Any]:
    """The rate of a server, and what its confirming bursts were like."""
    searches = measured.searches
    confirmed = [one.confirmed for one in searches]
    return {
        **measured.facts,
        "requests_per_second": statistics.median(one.rate for one in searches),
        "quartiles_requests_per_second": quartiles([one.rate for one in searches]),
        "median_ms": [burst["latency_ms"]["p50"] for burst in confirmed],
        "p99_ms": [burst["latency_ms"]["p99"] for burst in confirmed],
        "generator_lag_p99_ms": [burst["lag_ms"]["p99"] for burst in confirmed],
        "generator_cpu_share": [burst["generator_cpu_share"] for burst in confirmed],
        "answers_checked": sum(burst["answered"] for burst in confirmed),
        "bursts": [burst for one in searches for burst in one.tried],
    }


def ratios(measured: Mapping[Kind, Measured]) -> dict[Kind, list[float]]:
    """The rate of qkv over that of each baseline, round by round."""
    rates = {kind: [one.rate for one in of.searches] for kind, of in measured.items()}
    return {
        kind: round_ratios(rates["qkv"], theirs) for kind, theirs in rates.items() if kind != "qkv"
    }


def _facts(contestant: Contestant) -> dict[str, Any]:
    return {
        "options": dict(contestant.setup.options),
        "solo_median_ms": contestant.solo_ms,
        "p99_limit_ms": contestant.limit_ms,
        "scores_off_by": contestant.off_by,
        "memory_mb": contestant.server.memory_bytes() / 1e6,
    }
