"""Class-specific relevance: a case by hand, gradients by differences, and what class it is of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_vits import KINDS, pixels_for, tiny_vit
from torch import Tensor

from qkv.explanation import vision_attention as module
from qkv.explanation.integrated_gradients import log_odds
from qkv.explanation.vision_attention import relevance, relevance_map


def test_two_layers_by_hand() -> None:
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
    spelt_out = type(block).spelt_out

    def score(head: int, row: int, column: int, by: float) -> float:
        def moved(self: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
            output, weights = spelt_out(self, tokens)
            value = self._project(tokens)[2]
            change = torch.zeros_like(weights)
            change[0, head, row, column] = by
            return output + (change @ value).transpose(1, 2).flatten(
                2
            ) @ self.output.weight.T, weights

        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(block, "spelt_out", moved.__get__(block))
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
