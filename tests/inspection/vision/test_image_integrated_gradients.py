"""Integrated gradients: complete, equal to Captum's, and exact where the score is linear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, IntegratedGradients
from tiny_vits import KINDS, pixels_for, tiny_vit
from torch import Tensor

from qkv.explanation import vision as module
from qkv.explanation.perturbation import occlusion
from qkv.explanation.vision import MaskedImage, integrated_gradients

COARSE, FINE = 16, 256


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("label", [0, 2])
def test_attributions_sum_to_the_difference_of_the_score(label: int, kind: dict[str, Any]) -> None:
    classifier = tiny_vit(temperature=0.8, **kind)
    masked = MaskedImage(classifier, pixels_for(classifier))
    found = integrated_gradients(classifier, masked.pixels, masked.empty, label, steps=FINE)
    ends = masked.probabilities(np.array([[True] * 9, [False] * 9]))[:, label]
    odds = np.log(ends / (1 - ends))
    assert found.difference == pytest.approx(odds[0] - odds[1], rel=1e-4)
    assert found.values.sum() == pytest.approx(found.difference, abs=2e-3)
    assert found.gap == pytest.approx(found.values.sum() - found.difference)
    assert abs(found.difference) > 0.05
    # It is no accident: with another class the sum is another one.
    other = integrated_gradients(classifier, masked.pixels, masked.empty, 1, steps=FINE)
    assert abs(other.values.sum() - found.difference) > 0.02


def test_more_steps_come_nearer() -> None:
    classifier = tiny_vit()
    masked = MaskedImage(classifier, pixels_for(classifier))
    gaps = [
        abs(integrated_gradients(classifier, masked.pixels, masked.empty, 0, steps=n).gap)
        for n in (2, FINE)
    ]
    assert gaps[1] < gaps[0] / 20


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_it_agrees_with_captum(kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    classifier = tiny_vit(temperature=0.8, **kind)
    masked = MaskedImage(classifier, pixels_for(classifier))
    found = integrated_gradients(classifier, masked.pixels, masked.empty, 1, steps=COARSE)

    def score(images: Tensor) -> Tensor:
        share = (classifier.model(images) / 0.8).softmax(dim=1)[:, 1]
        return (share / (1 - share)).log()

    start, end = (
        (torch.from_numpy(np.ascontiguousarray(image))[None] / 255 - 0.5) / 0.5
        for image in (masked.empty, masked.pixels)
    )
    expected = IntegratedGradients(score).attribute(
        end, start, n_steps=COARSE, method="riemann_middle"
    )
    np.testing.assert_allclose(found.values, expected[0].detach().numpy(), atol=1e-5, rtol=1e-3)


def test_an_empty_image_has_nothing_to_attribute() -> None:
    classifier = tiny_vit()
    image = np.full((3, 12, 12), 9, dtype=np.uint8)
    found = integrated_gradients(classifier, image, image, 0)
    assert not found.values.any()
    assert found.difference == 0


def test_where_the_score_is_linear_it_is_slope_times_way(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = tiny_vit(temperature=0.5, num_classes=3)
    slope = torch.randn(3, 3 * 144, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(classifier.model, "forward", lambda images: images.flatten(1) @ slope.T)
    monkeypatch.setattr(module, "log_odds", lambda logits, label: logits[:, label])
    image, empty = pixels_for(classifier, 1), pixels_for(classifier, 2)
    found = integrated_gradients(classifier, image, empty, 1, steps=3)
    way = (image.astype(np.float64) - empty) / 127.5
    expected = way * slope[1].view(3, 12, 12).numpy() / 0.5
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    assert found.gap == pytest.approx(0, abs=1e-3)


def test_gradients_are_asked_for_whatever_the_caller_does() -> None:
    classifier = tiny_vit()
    masked = MaskedImage(classifier, pixels_for(classifier))
    given = classifier, masked.pixels, masked.empty, 0
    expected = integrated_gradients(*given)
    classifier.model.requires_grad_(False)
    with torch.inference_mode():
        found = integrated_gradients(*given)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    assert all(parameter.grad is None for parameter in classifier.model.parameters())


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_occlusion_agrees_with_captums_ablation(kind: dict[str, Any]) -> None:
    classifier = tiny_vit(**kind)
    masked = MaskedImage(classifier, pixels_for(classifier))

    def share(images: Tensor) -> Tensor:
        return classifier.model(images).softmax(dim=1)[:, 2]

    start, end = (
        (torch.from_numpy(np.ascontiguousarray(image))[None] / 255 - 0.5) / 0.5
        for image in (masked.empty, masked.pixels)
    )
    patches = torch.arange(9).view(3, 3).repeat_interleave(4, 0).repeat_interleave(4, 1)
    with torch.no_grad():
        found = FeatureAblation(share).attribute(
            end, baselines=start, feature_mask=patches.expand(1, len(masked.pixels), -1, -1)
        )
    np.testing.assert_allclose(occlusion(masked, 2), found[0, 0, ::4, ::4].flatten(), atol=1e-6)
