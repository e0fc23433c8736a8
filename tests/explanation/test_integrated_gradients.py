"""Integrated gradients of images: complete, equal to Captum's, exact where the score is linear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, IntegratedGradients
from tiny_vits import KINDS, pixels_for, tiny_vit
from torch import Tensor

from qkv.explanation import vision as module
from qkv.explanation.integrated_gradients import integrated_gradients as path_integral
from qkv.explanation.integrated_gradients import log_odds
from qkv.explanation.perturbation import occlusion
from qkv.explanation.vision import MaskedImage, integrated_gradients
from tolerance import atol

# Sums of up to about a hundred products, added in another order.
ROUNDING = atol(torch.float32, 100)

COARSE, FINE = 16, 256


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("label", [0, 2])
def test_attributions_sum_to_the_difference_of_the_score(label: int, kind: dict[str, Any]) -> None:
    classifier = tiny_vit(temperature=0.8, **kind)
    masked = MaskedImage(classifier, pixels_for(classifier))
    found = integrated_gradients(masked, label, steps=FINE)
    ends = masked.probabilities(np.array([[True] * 9, [False] * 9]))[:, label]
    odds = np.log(ends / (1 - ends))
    assert found.heat is not None
    assert found.contributions.sum() == pytest.approx(found.heat.sum())
    assert found.contributions.sum() == pytest.approx(odds[0] - odds[1], abs=2e-3)
    assert found.convergence_delta == pytest.approx(
        found.contributions.sum() - (odds[0] - odds[1]), abs=1e-5
    )
    assert abs(odds[0] - odds[1]) > 0.05
    # It is no accident: with another class the sum is another one.
    other = integrated_gradients(masked, 1, steps=FINE)
    assert abs(other.contributions.sum() - (odds[0] - odds[1])) > 0.02


def test_more_steps_come_nearer() -> None:
    masked = MaskedImage(tiny_vit(), pixels_for(tiny_vit()))
    deltas = [integrated_gradients(masked, 0, steps=n).convergence_delta or 0 for n in (1, FINE)]
    assert abs(deltas[1]) < abs(deltas[0]) / 20


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_it_agrees_with_captum(kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    classifier = tiny_vit(temperature=0.8, **kind)
    masked = MaskedImage(classifier, pixels_for(classifier))
    found = integrated_gradients(masked, 1, steps=COARSE)

    def score(images: Tensor) -> Tensor:
        share = (classifier.model(images) / 0.8).softmax(dim=1)[:, 1]
        return (share / (1 - share)).log()

    start, end = (
        (torch.from_numpy(np.ascontiguousarray(image))[None] / 255 - 0.5) / 0.5
        for image in (masked.empty, masked.pixels)
    )
    expected = IntegratedGradients(score).attribute(
        end, start, n_steps=COARSE, method="gausslegendre"
    )
    heat = expected[0].detach().numpy().sum(axis=0)
    np.testing.assert_allclose(found.heat, heat, atol=1e-5, rtol=1e-3)


def test_an_empty_image_has_nothing_to_attribute() -> None:
    found = integrated_gradients(MaskedImage(tiny_vit(), np.full((3, 12, 12), 9, np.uint8)), 0)
    assert not found.contributions.any()
    assert found.convergence_delta == 0


def test_where_the_score_is_linear_it_is_slope_times_way(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = tiny_vit(temperature=0.5, num_classes=3)
    slope = torch.randn(3, 3 * 144, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(classifier.model, "forward", lambda images: images.flatten(1) @ slope.T)
    monkeypatch.setattr(module, "log_odds", lambda logits, label: logits[:, label])
    masked = MaskedImage(classifier, pixels_for(classifier, 1))
    found = integrated_gradients(masked, 1, steps=3)
    way = (masked.pixels.astype(np.float64) - masked.empty) / 127.5
    expected = (way * slope[1].view(3, 12, 12).numpy() / 0.5).sum(axis=0)
    np.testing.assert_allclose(found.heat, expected, atol=1e-5)
    assert found.convergence_delta == pytest.approx(0, abs=1e-3)


def test_gradients_are_asked_for_whatever_the_caller_does() -> None:
    classifier = tiny_vit()
    masked = MaskedImage(classifier, pixels_for(classifier))
    expected = integrated_gradients(masked, 0)
    classifier.model.requires_grad_(False)
    with torch.inference_mode():
        found = integrated_gradients(masked, 0)
    np.testing.assert_allclose(found.contributions, expected.contributions, atol=ROUNDING)
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
    np.testing.assert_allclose(occlusion(masked, 2), found[0, 0, ::4, ::4].flatten(), atol=ROUNDING)


def test_they_are_the_logarithm_of_the_odds() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for label in range(4):
        share = logits.softmax(dim=1)[:, label]
        torch.testing.assert_close(log_odds(logits, label), (share / (1 - share)).log())


def test_of_two_classes_they_are_the_difference_of_logits() -> None:
    assert log_odds(torch.tensor([[3.0, -1.0]]), 1).tolist() == [-4.0]


@pytest.mark.parametrize("label", [0, 2])
def test_certainty_does_not_flatten_them(label: int) -> None:
    logits = torch.zeros(1, 3)
    logits[0, label] = 200.0
    logits.requires_grad_()
    score = log_odds(logits, label)
    assert score.item() == pytest.approx(200 - torch.tensor(2.0).log().item())
    gradient = torch.autograd.grad(score.sum(), logits)[0]
    assert gradient[0, label] == 1
    assert gradient.sum().item() == pytest.approx(0, abs=ROUNDING)


def test_a_linear_score_is_divided_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(1, rows, 4, generator=generator) for rows in (3, 5)]
    slopes = [torch.randn(part.shape[1:], generator=generator) for part in parts]

    def score(points: list[Tensor]) -> Tensor:
        sums = [(p * s).sum(dim=(1, 2)) for p, s in zip(points, slopes, strict=True)]
        return torch.stack(sums).sum(dim=0)

    starts = [torch.ones_like(part) for part in parts]
    found, delta = path_integral(score, starts, parts, steps=1, points_at_once=1)
    for share, part, slope in zip(found, parts, slopes, strict=True):
        assert share.dtype == np.float64
        np.testing.assert_allclose(share, ((part - 1) * slope)[0], atol=1e-5, rtol=1e-5)
    assert delta == pytest.approx(0, abs=1e-5)


def test_batches_of_points_do_not_show() -> None:
    end = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(1))

    def score(points: list[Tensor]) -> Tensor:
        return points[0].pow(3).sum(dim=(1, 2))

    # Degree 3: two points are exact.
    for at_once in (1, 2, 5, 9):
        (found,), _ = path_integral(
            score, [torch.zeros_like(end)], [end], steps=5, points_at_once=at_once
        )
        np.testing.assert_allclose(found, end.double().pow(3)[0], atol=1e-5, rtol=1e-5)
