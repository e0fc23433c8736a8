"""Occlusion: what goes with each part alone."""

from __future__ import annotations

import numpy as np
import pytest
from games import LABEL, additive, pairwise, table
from hypothesis import given
from hypothesis import strategies as st

from qkv.explanation.perturbation import occlusion


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
