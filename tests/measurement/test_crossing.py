"""Crossings of costs that are known exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.measurement import timing as crossing
from qkv.measurement.timing import bracket, crossing_tokens, refine

DOUBLING = [64, 128, 256, 512, 1024]


@pytest.fixture
def costs(monkeypatch):
    """A call is its own cost, so that `speed_ratio` needs no clock; counts what is measured."""
    measured = []

    def ratio(ours, theirs, rounds):
        measured.append(rounds)
        return theirs() / ours()

    monkeypatch.setattr(crossing, "speed_ratio", ratio)
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
