"""The paired difference against the 2 × 2 table by hand, its level by simulation, its edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import ShapeError
from qkv.evaluation.metrics import paired_difference


def answers(both: int, only_first: int, only_second: int, neither: int) -> tuple:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return np.array([first]), np.array([second])


@given(*[st.integers(0, 40)] * 3, st.integers(1, 40))
def test_one_seed_is_the_adjusted_table(
    both: int, only_first: int, only_second: int, neither: int
) -> None:
    found = paired_difference(*answers(both, only_first, only_second, neither))
    n = both + only_first + only_second + neither
    assert found.difference == pytest.approx((only_second - only_first) / n)
    assert (found.only_first, found.only_second) == (only_first, only_second)
    # Half an example more in each of the four cells, then the Wald interval of the new table.
    b, c, padded = only_first + 0.5, only_second + 0.5, n + 2
    centre = (c - b) / padded
    reach = 1.959964 * math.sqrt(b + c - (c - b) ** 2 / padded) / padded
    expected = (max(-1, centre - reach), min(1, centre + reach))
    assert found.interval_95 == pytest.approx(expected, abs=1e-7)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    cells, held, rounds = (0.80, 0.06, 0.09, 0.05), 0, 2000
    for _ in range(rounds):
        low, high = paired_difference(*answers(*generator.multinomial(400, cells))).interval_95
        held += low <= 0.03 <= high
    assert 0.935 < held / rounds < 0.97


def test_pairing_narrows_the_interval() -> None:
    first, second = answers(800, 20, 40, 140)
    low, high = paired_difference(first, second).interval_95
    shuffled = np.random.default_rng(0).permutation(second[0])[None]
    wide = paired_difference(first, shuffled).interval_95
    assert high - low < 0.5 * (wide[1] - wide[0])
    assert paired_difference(first, second).beyond_noise
    assert not paired_difference(first, shuffled).beyond_noise


def test_equal_answers_are_within_noise_and_still_uncertain() -> None:
    first, _ = answers(50, 0, 0, 50)
    found = paired_difference(first, first.copy())
    assert found.difference == 0.0
    assert found.interval_95[0] < 0 < found.interval_95[1]
    assert not found.beyond_noise


def test_seeds_are_averaged_example_by_example() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.random((3, 500)) < 0.7, generator.random((3, 500)) < 0.8
    found = paired_difference(first, second)
    by_hand = [second[i].mean() - first[i].mean() for i in range(3)]
    assert found.by_seed == pytest.approx(by_hand)
    assert found.difference == pytest.approx(np.mean(by_hand))
    single = paired_difference(first[:1], second[:1]).interval_95
    low, high = found.interval_95
    assert high - low < single[1] - single[0]


def test_a_seed_that_disagrees_makes_it_noise() -> None:
    better = answers(500, 0, 200, 300)
    worse = answers(500, 10, 0, 490)
    alone = paired_difference(*better)
    both = paired_difference(
        np.concatenate([better[0], worse[0]]), np.concatenate([better[1], worse[1]])
    )
    assert alone.beyond_noise
    assert both.interval_95[0] > 0
    assert not both.beyond_noise


@pytest.mark.parametrize("sign", [1, -1])
def test_swapping_the_two_turns_the_sign(sign: int) -> None:
    first, second = answers(60, 5, 25, 10)
    pair = (first, second) if sign == 1 else (second, first)
    found = paired_difference(*pair)
    assert math.copysign(1, found.difference) == sign
    assert found.beyond_noise


@pytest.mark.parametrize(("first", "second"), [((1, 3), (1, 4)), ((3,), (3,)), ((0, 3), (0, 3))])
def test_answers_that_do_not_pair_are_refused(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match="answers of shapes"):
        paired_difference(np.zeros(first, bool), np.zeros(second, bool))
