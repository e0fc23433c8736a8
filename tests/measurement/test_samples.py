"""Samples are long enough, and counted by the call, on a clock that the test owns."""

from __future__ import annotations

import pytest

from qkv.measurement import timing as samples
from qkv.measurement.timing import sampled, speed_ratio


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
    monkeypatch.setattr(samples.time, "perf_counter", clock.perf_counter)
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
