"""Attention of images: maps, rollout and relevance, by hand and computed another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_vits import GRID, KINDS, pixels_for, tiny_vit
from torch import Tensor

from qkv.attention import linear_attention_weights, softmax_attention_weights
from qkv.errors import DataError
from qkv.explanation import vision_attention as module
from qkv.explanation.integrated_gradients import log_odds
from qkv.explanation.vision_attention import (
    attention_map,
    attention_weights,
    relevance,
    relevance_map,
    rollout,
    rollout_map,
)
from tolerance import atol

# Sums of up to about a hundred products, added in another order.
ROUNDING = atol(torch.float32, 100)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("layer", [0, 2])
def test_weights_are_those_of_the_layer(layer: int, kind: dict[str, Any]) -> None:
    classifier = tiny_vit(**kind)
    image = pixels_for(classifier)
    found = attention_weights(classifier, image, layer)
    tokens = 9 + (classifier.model.class_token is not None)
    assert found.dtype == np.float32
    assert found.shape == (2, tokens, tokens)
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-5)
    # Independently: the layer's input from the blocks before it, then the kernel's own weights.
    model = classifier.model
    with torch.no_grad():
        x = model._embed(model.stem((torch.from_numpy(image)[None] / 255 - 0.5) / 0.5))
        for block in model.blocks[:layer]:
            x = block(x)
        block = model.blocks[layer]
        packed = block.attention.qkv(block.attention_norm(x)).view(tokens, 3, 2, 4)
        query, key, _ = packed.permute(1, 2, 0, 3)
        linear = kind.get("attention") == "linear"
        weights = (linear_attention_weights if linear else softmax_attention_weights)(query, key)
    np.testing.assert_allclose(found, weights, atol=1e-5)


@pytest.mark.parametrize("head", [None, 0, 1])
@pytest.mark.parametrize("query", [None, 0, 5])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_map_is_a_row_of_them(kind: dict[str, Any], query: int | None, head: int | None) -> None:
    classifier = tiny_vit(**kind)
    image = pixels_for(classifier)
    weights = attention_weights(classifier, image, 1)
    matrix = weights.mean(axis=0) if head is None else weights[head]
    if classifier.model.class_token is not None:
        row = matrix[0 if query is None else query + 1][1:]
    else:
        row = matrix.mean(axis=0) if query is None else matrix[query]
    found = attention_map(classifier, image, 1, head, query)
    assert found.dtype == np.float32
    assert found.shape == (GRID, GRID)
    np.testing.assert_allclose(found.reshape(-1), row, atol=ROUNDING)
    token = classifier.model.class_token is not None
    to_it = matrix[0 if query is None else query + 1][0] if token else 0.0
    assert found.sum() + to_it == pytest.approx(1, abs=1e-5)


def test_rows_and_columns_are_those_of_the_image() -> None:
    """Without positions, equal patches draw equal weights: the one that differs stands out."""
    classifier = tiny_vit(pooling="mean", embedding_std=0.0)
    image = np.full((3, 12, 12), 128, dtype=np.uint8)
    np.testing.assert_allclose(attention_map(classifier, image, 0), 1 / 9, rtol=1e-5)
    image[0, 4:8, 8:] = 255
    found = attention_map(classifier, image, 0)
    others = np.delete(found.reshape(-1), 5)
    np.testing.assert_allclose(others, others[0], rtol=1e-5)
    assert abs(np.log(found[1, 2] / others[0])) > 0.01


@pytest.mark.parametrize(
    ("asked", "problem", "remedy"),
    [
        ({"layer": 3}, "no layer 3", "0 to 2"),
        ({"layer": -1}, "no layer -1", "0 to 2"),
        ({"layer": 0, "head": 2}, "no head 2", "0 to 1"),
        ({"layer": 0, "head": -1}, "no head -1", "0 to 1"),
        ({"layer": 0, "query": 9}, "no patch 9", "0 to 8"),
        ({"layer": 0, "query": -1}, "no patch -1", "0 to 8"),
    ],
)
def test_what_is_not_there(asked: dict[str, int], problem: str, remedy: str) -> None:
    classifier = tiny_vit()
    with pytest.raises(DataError) as caught:
        attention_map(classifier, pixels_for(classifier), **asked)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


def test_rollout_of_two_layers_by_hand() -> None:
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
    np.testing.assert_allclose(rollout_map(classifier, image), expected, atol=ROUNDING)


def test_relevance_of_two_layers_by_hand() -> None:
    # Heads' products with their gradients: [[2, −4], [0, 1]] and [[4, 2], [−1, 3]], so that
    # the mean of what is positive is [[3, 1], [0, 2]].
    weights = torch.tensor([[[2.0, 4.0], [1.0, 1.0]], [[2.0, 1.0], [1.0, 3.0]]])
    gradient = torch.tensor([[[1.0, -1.0], [0.0, 1.0]], [[2.0, 2.0], [-1.0, 1.0]]])
    # R₁ = I + Ā₁ = [[4, 1], [0, 3]].
    torch.testing.assert_close(
        relevance([weights], [gradient]), torch.tensor([[4.0, 1.0], [0.0, 3.0]])
    )
    # Ā₂ = [[1, 1], [0, 0]]; R₂ = R₁ + Ā₂ R₁ = [[8, 5], [0, 3]].
    second, ones = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]).repeat(2, 1, 1), torch.ones(2, 2, 2)
    torch.testing.assert_close(
        relevance([weights, second], [gradient, ones]), torch.tensor([[8.0, 5.0], [0.0, 3.0]])
    )


def captured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Tensor], list[Tensor]]]:
    calls = []
    real = relevance
    monkeypatch.setattr(
        module,
        "relevance",
        lambda layers, gradients: calls.append((layers, gradients)) or real(layers, gradients),
    )
    return calls


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gradients_are_those_of_the_log_odds(
    kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against central differences: one weight at a time is moved in the model itself."""
    classifier = tiny_vit(**kind)
    image = pixels_for(classifier)
    calls = captured(monkeypatch)
    relevance_map(classifier, image, 2)
    layers, gradients = calls[0]
    classifier.model.double()
    block = classifier.model.blocks[1].attention
    forward_with_weights = type(block).forward_with_weights

    def score(head: int, row: int, column: int, by: float) -> float:
        def moved(self: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
            output, weights = forward_with_weights(self, tokens)
            value = self._project(tokens)[2]
            change = torch.zeros_like(weights)
            change[0, head, row, column] = by
            return output + (change @ value).transpose(1, 2).flatten(
                2
            ) @ self.output.weight.T, weights

        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(block, "forward_with_weights", moved.__get__(block))
            images = (torch.from_numpy(image)[None].double() / 255 - 0.5) / 0.5
            logits, _ = classifier.model.forward_with_intermediates(images, [1])
            return log_odds(logits, 2).item()

    assert gradients[1].abs().max() > 1e-4
    for head, row, column in [(0, 0, 0), (1, 0, 3), (0, 4, 2), (1, 8, 8)]:
        slope = (score(head, row, column, 1e-4) - score(head, row, column, -1e-4)) / 2e-4
        assert gradients[1][head, row, column].item() == pytest.approx(slope, rel=1e-3, abs=1e-5)
    assert len(layers) == len(gradients) == 3


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_it_is_of_a_class_and_never_negative(kind: dict[str, Any]) -> None:
    classifier = tiny_vit(**kind)
    image = pixels_for(classifier)
    maps = [relevance_map(classifier, image, label) for label in range(3)]
    for found in maps:
        assert found.dtype == np.float64
        assert found.shape == (9,)
        assert found.min() >= 0
        assert found.max() > 0
    assert not np.allclose(maps[0], maps[1], rtol=0.01)


def test_a_frozen_model_and_a_caller_without_gradients() -> None:
    classifier = tiny_vit()
    image = pixels_for(classifier)
    expected = relevance_map(classifier, image, 0)
    classifier.model.requires_grad_(False)
    with torch.inference_mode():
        np.testing.assert_allclose(relevance_map(classifier, image, 0), expected, rtol=1e-4)


def test_the_model_is_left_as_it_was() -> None:
    classifier = tiny_vit()
    relevance_map(classifier, pixels_for(classifier), 0)
    assert all(parameter.grad is None for parameter in classifier.model.parameters())
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
