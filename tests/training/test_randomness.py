"""Every draw is a function of the seed and the place."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qkv.training.checkpoint import epoch_order, seed_initial_weights, seed_step

seeds = st.integers(0, 2**32 - 1)


def draws(seed: int, step: int | None) -> tuple[float, ...]:
    if step is None:
        seed_initial_weights(seed)
    else:
        seed_step(seed, step)
    return tuple(torch.rand(4).tolist())


@given(seeds, st.integers(0, 10**9))
@settings(max_examples=20)
def test_the_same_place_gives_the_same_draws(seed: int, step: int) -> None:
    assert draws(seed, step) == draws(seed, step)
    assert draws(seed, None) == draws(seed, None)


def test_other_places_give_other_draws() -> None:
    places = [(seed, step) for seed in range(20) for step in [None, *range(20)]]
    assert len({draws(*place) for place in places}) == len(places)


@given(seeds, st.integers(0, 100), st.integers(1, 300))
@settings(max_examples=20)
def test_an_order_is_a_repeatable_permutation(seed: int, epoch: int, examples: int) -> None:
    order = epoch_order(seed, epoch, examples)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(examples))
    assert np.array_equal(order, epoch_order(seed, epoch, examples))


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(epoch_order(seed, epoch, 50)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100
