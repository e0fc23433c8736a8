"""Attention rollout: a case worked by hand, its invariants, and a model's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_vits import KINDS, pixels_for, tiny_vit

from qkv.explanation.vision_attention import attention_weights, rollout, rollout_map


def test_two_layers_by_hand() -> None:
    # Two heads whose mean is [[0, 1], [1/2, 1/2]]; with the residual, [[1/2, 1/2], [1/4, 3/4]].
    first = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    # Both heads [[1/2, 1/2], [0, 1]]; with the residual, [[3/4, 1/4], [0, 1]].
    second = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]]).repeat(2, 1, 1)
    # Row one: 3/4·(1/2, 1/2) + 1/4·(1/4, 3/4) = (7/16, 9/16). Row two is the first layer's.
    expected = torch.tensor([[7 / 16, 9 / 16], [1 / 4, 3 / 4]])
    torch.testing.assert_close(rollout([first, second]), expected)
    # In the other order it is another matrix.
    assert not torch.allclose(rollout([second, first]), expected)


def test_of_one_layer_it_is_half_of_the_mean_and_half_of_itself() -> None:
    weights = torch.rand(3, 4, 4).softmax(dim=-1)
    torch.testing.assert_close(rollout([weights]), 0.5 * weights.mean(0) + 0.5 * torch.eye(4))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(0, 99))
def test_rows_stay_shares(layers: int, heads: int, tokens: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(heads, tokens, tokens, generator=generator) for _ in range(layers)]
    flow = rollout([w.softmax(dim=-1) for w in weights])
    assert flow.min() >= 0
    torch.testing.assert_close(flow.sum(dim=1), torch.ones(tokens))
    assert (flow.diagonal() >= 0.5**layers - 1e-6).all()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_models_rollout_is_a_product_over_its_layers(kind: dict[str, Any]) -> None:
    classifier = tiny_vit(**kind)
    image = pixels_for(classifier)
    halves = [
        (attention_weights(classifier, image, layer).mean(axis=0, dtype=np.float64) + np.eye(n)) / 2
        for layer in range(3)
        for n in [9 + (classifier.model.class_token is not None)]
    ]
    flow = halves[2] @ halves[1] @ halves[0]
    expected = flow[0, 1:] if classifier.model.class_token is not None else flow.mean(axis=0)
    np.testing.assert_allclose(rollout_map(classifier, image), expected, atol=1e-6)
