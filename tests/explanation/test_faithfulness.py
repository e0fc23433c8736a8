"""Deletion and insertion: curves by hand, the best and the worst order, and what chance does."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from games import LABEL, Game, additive, table
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import ShapeError
from qkv.explanation.faithfulness import Faithfulness, FloatArray, MaskedInput, measure_faithfulness

WEIGHTS = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=9)


def measured(game: MaskedInput, contributions: list[float] | FloatArray, **options: int):
    return measure_faithfulness(game, np.asarray(contributions, dtype=float), LABEL, **options)


# Nobody 0.1, the first part alone 0.7, the second alone 0.2, both 0.9.
TWO = [0.1, 0.7, 0.2, 0.9]


def test_curves_and_areas_by_hand() -> None:
    found = measured(table(TWO), [5.0, -1.0])
    assert found.fractions == (0.0, 0.5, 1.0)
    assert found.deletion == pytest.approx((0.9, 0.2, 0.1))
    assert found.insertion == pytest.approx((0.1, 0.7, 0.9))
    assert found.deletion_area == pytest.approx((0.9 + 0.2) / 4 + (0.2 + 0.1) / 4)
    assert found.score == pytest.approx((0.1 + 2 * 0.7 + 0.9) / 4 - (0.9 + 2 * 0.2 + 0.1) / 4)


def test_the_other_order_by_hand() -> None:
    found = measured(table(TWO), [-1.0, 5.0])
    assert found.deletion == pytest.approx((0.9, 0.7, 0.1))
    assert found.insertion == pytest.approx((0.1, 0.2, 0.9))
    assert not found.beats_random


def test_random_curves_are_means_over_random_orders() -> None:
    # Any mean of the two orders there are lies on the line between their middles.
    found = measured(table(TWO), [1.0, 0.0], random_orders=64, seed=3)
    share = (found.random_deletion[1] - 0.7) / (0.2 - 0.7)
    assert 0.3 < share < 0.7
    assert share * 64 == pytest.approx(round(share * 64))
    assert found.random_insertion[1] == pytest.approx(share * 0.7 + (1 - share) * 0.2)
    assert found.random_deletion[::2] == pytest.approx((0.9, 0.1))
    assert found.random_orders == 64
    assert found.beats_random
    assert found.random_score == pytest.approx(
        (found.random_insertion[1] - found.random_deletion[1]) / 2
    )


def test_random_orders_are_a_matter_of_the_seed_alone() -> None:
    game = additive(list(np.random.default_rng(0).random(7) / 7))
    one, same = measured(game, range(7), seed=1), measured(game, range(7)[::-1], seed=1)
    assert one.random_deletion == same.random_deletion
    assert one.random_insertion == same.random_insertion
    assert one.deletion != same.deletion
    assert measured(game, range(7), seed=2).random_deletion != one.random_deletion


@given(WEIGHTS)
def test_true_contributions_are_the_best_order_and_inverted_ones_the_worst(
    weights: list[float],
) -> None:
    game = additive(weights, none=0.5)
    best, worst = measured(game, weights), measured(game, [-weight for weight in weights])
    others = np.random.default_rng(0).permuted(np.tile(weights, (5, 1)), axis=1)
    for found in [worst, *(measured(game, other) for other in others)]:
        assert best.deletion_area <= found.deletion_area + 1e-9
        assert best.score >= found.score - 1e-9
        assert worst.score <= found.score + 1e-9
    assert best.deletion_area <= best.random_deletion_area + 1e-9
    # Of a sum, what comes in first under one order goes out last under its reverse.
    assert worst.score == pytest.approx(-best.score, abs=1e-9)


def test_no_order_of_a_small_game_beats_the_best() -> None:
    weights = [0.4, -0.1, 0.25, 0.05]
    game = additive(weights, none=0.2)
    areas = {
        order: measured(game, list(order)).deletion_area
        for order in itertools.permutations(weights)
    }
    assert min(areas, key=lambda order: areas[order]) == tuple(weights)
    assert max(areas, key=lambda order: areas[order]) == tuple(
        # The ranks turned about: the largest where the smallest was.
        dict(zip(sorted(weights), sorted(weights, reverse=True), strict=True))[w]
        for w in weights
    )


@given(st.lists(st.floats(0, 1), min_size=8, max_size=8), st.permutations(range(3)))
def test_scores_stay_in_their_bounds_whatever_the_game(
    values: list[float], order: list[int]
) -> None:
    found = measured(table(values), order)
    assert -1 <= found.score <= 1
    assert -1 <= found.random_score <= 1
    for curve in (found.deletion, found.random_deletion):
        assert (curve[0], curve[-1]) == pytest.approx((values[-1], values[0]))
    for curve in (found.insertion, found.random_insertion):
        assert (curve[0], curve[-1]) == pytest.approx((values[0], values[-1]))


def test_an_answer_that_nothing_moves_beats_nothing() -> None:
    found = measured(additive([0.0] * 5, none=0.6), range(5))
    assert found.score == found.random_score == 0
    assert not found.beats_random
    assert found.deletion_area == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("parts", "steps", "counts"),
    [(1, 16, [0, 1]), (3, 16, [0, 1, 2, 3]), (10, 5, [0, 2, 4, 6, 8, 10]), (7, 1, [0, 7])],
)
def test_a_curve_has_the_asked_steps_or_one_a_part(
    parts: int, steps: int, counts: list[int]
) -> None:
    game = additive([1 / parts] * parts)
    found = measured(game, range(parts), steps=steps, random_orders=2)
    assert found.fractions == pytest.approx([count / parts for count in counts])
    assert found.insertion == pytest.approx(found.fractions)
    assert game.asked == 2 * 3 * len(counts)


def test_equal_contributions_keep_their_order() -> None:
    found = measured(table(TWO), [0.0, 0.0])
    assert found.deletion[1] == pytest.approx(0.2)  # the first part went first


def test_another_class_is_another_curve() -> None:
    found = measure_faithfulness(table(TWO), np.array([1.0, 0.0]), 0)
    assert found.deletion == pytest.approx((0.1, 0.8, 0.9))


@pytest.mark.parametrize(
    "wrong", [np.zeros(1), np.zeros((2, 1)), np.array([0.0, np.nan]), np.array([np.inf, 0.0])]
)
def test_contributions_are_one_finite_number_a_part(wrong: FloatArray) -> None:
    with pytest.raises(ShapeError, match="an input of 2 parts"):
        measure_faithfulness(table(TWO), wrong, LABEL)


def test_the_document_is_plain_json_and_says_it_all() -> None:
    found = measured(table(TWO), [1.0, 0.0])
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    again = Faithfulness(
        **{name: tuple(curve) for name, curve in document["curves"].items()},
        random_orders=document["random_orders"],
    )
    assert again == found
    assert document["score"] == pytest.approx(
        document["insertion_area"] - document["deletion_area"]
    )
    assert document["random_score"] == pytest.approx(
        document["random_insertion_area"] - document["random_deletion_area"]
    )
    assert document["beats_random"] is found.beats_random


def test_parts_are_asked_for_in_one_go() -> None:
    calls = []

    class Counting(Game):
        def probabilities(self, keep):
            calls.append(len(keep))
            return super().probabilities(keep)

    measured(Counting(3, lambda keep: keep.mean(axis=1)), range(3))
    assert len(calls) == 1
