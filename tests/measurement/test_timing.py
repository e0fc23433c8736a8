"""Timing: cases in turn, samples long enough, and crossings of costs that are known exactly."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.measurement import timing as timing
from qkv.measurement.timing import (
    bracket,
    crossing_tokens,
    interleaved,
    quartiles,
    refine,
    round_ratios,
    sampled,
    speed_ratio,
)


def test_cases_take_turns_and_warm_up_is_not_counted():
    calls = []
    seconds = interleaved(
        {name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3, warmup_rounds=2
    )
    assert calls == list("abc") * 5
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_each_case_gets_its_own_time():
    seconds = interleaved(
        {"slow": lambda: time.sleep(0.02), "quick": lambda: None}, rounds=2, warmup_rounds=0
    )
    assert min(seconds["slow"]) >= 0.02
    assert max(seconds["quick"]) < 0.02


def test_collector_rests_in_calls_and_is_restored_even_after_an_error():
    seen = []
    interleaved({"a": lambda: seen.append(gc.isenabled())}, rounds=1, warmup_rounds=1)
    assert seen == [False, False]
    assert gc.isenabled()

    def fail():
        raise KeyError("stop")

    with pytest.raises(KeyError):
        interleaved({"a": fail}, rounds=1, warmup_rounds=0)
    assert gc.isenabled()


def test_progress_counts_rounds():
    told = []
    interleaved({"a": lambda: None}, 2, 1, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_no_round_is_refused():
    with pytest.raises(ValueError, match="rounds is 0"):
        interleaved({"a": lambda: None}, rounds=0, warmup_rounds=1)


def test_quartiles_by_hand():
    assert quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == [2.0, 3.0, 4.0]
    assert quartiles([7.0]) == [7.0, 7.0, 7.0]


def test_ratios_pair_the_rounds():
    assert round_ratios([2.0, 6.0, 10.0], [1.0, 2.0, 10.0]) == [2.0, 3.0, 1.0]
    with pytest.raises(ValueError):
        round_ratios([1.0], [1.0, 2.0])


class Clock:
    """Time that passes only where a call says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def lasting(self, name, seconds, first=None):
        waits = iter([] if first is None else [first])

        def call():
            self.log.append(name)
            self.now += next(waits, seconds)

        return call


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", clock.perf_counter)
    return clock


def test_a_short_call_is_repeated_and_a_long_one_is_not(clock):
    cases = {"short": clock.lasting("s", 0.002), "long": clock.lasting("l", 0.5)}
    outcome = sampled(cases, 3, least_seconds=0.02)
    assert outcome["short"].calls == 10
    assert outcome["short"].seconds == pytest.approx([0.002] * 3)
    assert outcome["long"].calls == 1
    assert outcome["long"].seconds == pytest.approx([0.5] * 3)
    # Four trials of the short one, one of the long one, then rounds in turn.
    assert "".join(clock.log) == "ssss" + "l" + 3 * ("s" * 10 + "l")


def test_a_slow_first_call_does_not_shorten_the_samples(clock):
    outcome = sampled({"call": clock.lasting("c", 0.001, first=0.019)}, 1, least_seconds=0.02)
    assert outcome["call"].calls == 20


def test_ratio_is_theirs_over_ours(clock):
    ours, theirs = clock.lasting("o", 0.03), clock.lasting("t", 0.12)
    assert speed_ratio(ours, theirs, 3) == pytest.approx(4.0)


DOUBLING = [64, 128, 256, 512, 1024]


@pytest.fixture
def costs(monkeypatch):
    """A call is its own cost, so that `speed_ratio` needs no clock; counts what is measured."""
    measured = []

    def ratio(ours, theirs, rounds):
        measured.append(rounds)
        return theirs() / ours()

    monkeypatch.setattr(timing, "speed_ratio", ratio)
    return measured


def cost(factor, power, fixed=0.0):
    return lambda tokens: lambda: fixed + factor * tokens**power


def test_a_line_and_a_parabola_cross_where_they_must(costs):
    # 300·T = T² at 300: the least multiple of 16 from there on is 304.
    found = crossing_tokens(cost(300, 1), cost(1, 2), DOUBLING, rounds=4)
    assert (found.tokens, found.slower_at) == (304, 288)
    assert set(DOUBLING) < set(found.ratios)
    assert list(found.ratios) == sorted(found.ratios)
    assert found.ratios[1024] == pytest.approx(1024 / 300)
    # Multiples of 16 between 256 and 512 are 15: four steps of bisection.
    assert costs == [4] * (len(DOUBLING) + 4)


def test_equal_counts_as_fast_enough(costs):
    assert crossing_tokens(cost(256, 1), cost(1, 2), DOUBLING).tokens == 256


def test_never_crossing(costs):
    found = crossing_tokens(cost(5000, 1), cost(1, 2), DOUBLING)
    assert (found.tokens, found.slower_at) == (None, 1024)
    assert len(costs) == len(DOUBLING)


def test_always_below(costs):
    found = crossing_tokens(cost(10, 1), cost(1, 2), DOUBLING)
    assert (found.tokens, found.slower_at) == (64, None)
    assert len(costs) == len(DOUBLING)


def test_an_early_win_that_does_not_last_is_no_crossing():
    found = bracket({64: 1.2, 128: 0.9, 256: 1.1, 512: 0.8, 1024: 1.5, 2048: 3.0})
    assert (found.tokens, found.slower_at) == (1024, 512)
    assert bracket({64: 1.2, 128: 0.9}).tokens is None


def test_nothing_lies_between_neighbouring_multiples():
    def never(_tokens):
        raise AssertionError("measured")

    assert refine(never, {160: 0.5, 176: 1.5}).tokens == 176
    assert refine(never, {161: 0.5, 170: 1.5}).tokens == 170
    with pytest.raises(ValueError, match="no length"):
        bracket({})


@given(at=st.integers(2, 3000), first=st.integers(1, 100), multiple=st.integers(1, 40))
def test_bisection_finds_the_least_multiple(at, first, multiple):
    lengths = [first * 2**power for power in range(9)]
    found = refine(lambda t: t / at, {t: t / at for t in lengths}, multiple=multiple)
    tried = {t for t in range(first, lengths[-1] + 1) if t % multiple == 0} | set(lengths)
    fast = [t for t in tried if t >= at]
    assert found.tokens == (min(fast) if fast else None)
    slow = [t for t in tried if t < at]
    assert found.slower_at == (max(slow) if fast and slow else lengths[-1] if slow else None)
