"""Occlusion and Shapley values: exact where they must be, and shared out in full."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from games import LABEL, Game, additive, pairwise, table
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import ShapeError
from qkv.explanation.faithfulness import BoolArray, FloatArray
from qkv.explanation.perturbation import occlusion, shapley_values

UNIT = st.floats(-1, 1, allow_subnormal=False)


def exact(game: Game) -> FloatArray:
    """By the definition, over every order of the parts."""
    parts = game.parts
    total = np.zeros(parts)
    for order in itertools.permutations(range(parts)):
        keep = np.zeros((parts + 1, parts), dtype=bool)
        for place, part in enumerate(order):
            keep[place + 1 :, part] = True
        total[list(order)] += np.diff(game.probabilities(keep)[:, LABEL])
    return total / math.factorial(parts)


@given(st.lists(UNIT, min_size=1, max_size=8), st.integers(0, 5))
def test_of_a_sum_any_two_orders_are_exact(weights: list[float], seed: int) -> None:
    found = shapley_values(additive(weights, 0.4), LABEL, permutations=2, seed=seed)
    np.testing.assert_allclose(found, weights, atol=1e-12)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_an_order_and_its_reverse_share_out_pairs_exactly(parts: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    weights, together = random.normal(size=parts), np.triu(random.normal(size=(parts, parts)), 1)
    found = shapley_values(pairwise(list(weights), together), LABEL, permutations=2, seed=seed)
    halves = (together + together.T).sum(axis=1) / 2
    np.testing.assert_allclose(found, weights + halves, atol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=16, max_size=16), st.sampled_from([2, 4, 6]))
def test_values_sum_to_the_whole_difference_whatever_the_game(
    values: list[float], permutations: int
) -> None:
    found = shapley_values(table(values), LABEL, permutations=permutations)
    assert found.sum() == pytest.approx(values[-1] - values[0], abs=1e-12)


def test_many_orders_come_near_the_definition() -> None:
    game = table(list(np.random.default_rng(4).random(16)))
    few = shapley_values(game, LABEL, permutations=2) - exact(game)
    many = shapley_values(game, LABEL, permutations=2000) - exact(game)
    assert np.abs(many).max() < 0.01 < np.abs(few).max()


def test_parts_that_stand_in_for_each_other_share() -> None:
    either = table([0.0, 1.0, 1.0, 1.0])
    assert shapley_values(either, LABEL) == pytest.approx([0.5, 0.5])
    assert shapley_values(either, 0) == pytest.approx([-0.5, -0.5])


def test_a_part_that_does_nothing_gets_nothing() -> None:
    random = np.random.default_rng(2).random(8)
    game = table([*random, *random])  # the last of four parts changes no value
    assert shapley_values(game, LABEL)[3] == 0


def test_the_seed_rules_the_orders() -> None:
    game = table(list(np.random.default_rng(4).random(32)))
    one = shapley_values(game, LABEL, permutations=2, seed=1)
    assert np.array_equal(one, shapley_values(game, LABEL, permutations=2, seed=1))
    assert not np.array_equal(one, shapley_values(game, LABEL, permutations=2, seed=2))


def test_log_odds_are_shared_out_likewise() -> None:
    """Parts that add to the log odds by their weights get these back."""
    weights = np.array([3.0, -1.0, 0.5])

    def share(keep: BoolArray) -> FloatArray:
        grown: FloatArray = 1 / (1 + np.exp(-(keep @ weights - 1.0)))
        return grown

    game = Game(3, share)
    found = shapley_values(game, LABEL, unit="log odds")
    np.testing.assert_allclose(found, weights, atol=1e-9)
    np.testing.assert_allclose(shapley_values(game, 0, unit="log odds"), -weights, atol=1e-9)
    assert not np.allclose(shapley_values(game, LABEL), weights, atol=0.1)


def test_log_odds_keep_their_digits_near_certainty() -> None:
    class Sure:
        """Every part takes a factor of e⁵ from both other classes."""

        parts = 8

        def probabilities(self, keep: BoolArray) -> FloatArray:
            small = np.exp(-5.0 * keep.sum(axis=1))
            rows = np.stack([small, np.ones(len(keep)), small], axis=1)
            return rows / rows.sum(axis=1, keepdims=True)

    assert shapley_values(Sure(), 1, unit="log odds") == pytest.approx([5.0] * 8)


def test_log_odds_of_the_impossible_are_finite() -> None:
    found = shapley_values(table([0.0, 1.0, 0.0, 1.0]), LABEL, unit="log odds")
    assert np.isfinite(found).all()
    assert found[0] > 1000
    assert found[1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_the_cost_is_as_told(parts: int) -> None:
    game = additive([0.1] * parts)
    shapley_values(game, LABEL, permutations=6)
    assert game.asked == 6 * (parts - 1) + 2


@pytest.mark.parametrize("permutations", [0, -2, 3])
def test_orders_come_in_pairs(permutations: int) -> None:
    with pytest.raises(ShapeError, match="even number, at least 2"):
        shapley_values(additive([0.1]), LABEL, permutations=permutations)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_of_a_sum_it_is_each_weight(weights: list[float]) -> None:
    np.testing.assert_allclose(occlusion(additive(weights, 0.3), LABEL), weights, atol=1e-12)
    np.testing.assert_allclose(
        occlusion(additive(weights, 0.3), 0), np.negative(weights), atol=1e-12
    )


def test_a_part_takes_all_its_pairs_with_it() -> None:
    together = np.array([[0.0, 0.2, -0.1], [0, 0, 0.05], [0, 0, 0]])
    found = occlusion(pairwise([0.1, 0.2, 0.3], together), LABEL)
    np.testing.assert_allclose(found, [0.1 + 0.2 - 0.1, 0.2 + 0.2 + 0.05, 0.3 - 0.1 + 0.05])


def test_a_part_that_another_stands_in_for_seems_to_matter_little() -> None:
    either = table([0.0, 1.0, 1.0, 1.0])
    assert occlusion(either, LABEL) == pytest.approx([0.0, 0.0])


def test_it_asks_once_a_part_and_once_for_all() -> None:
    game = additive([0.1] * 6)
    assert occlusion(game, LABEL).shape == (6,)
    assert game.asked == 7
