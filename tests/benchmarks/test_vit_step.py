import json

import numpy as np
import pytest
import torch

from benchmarks import vit_step
from benchmarks.plain_vit import PlainTraining
from benchmarks.recipe_training import RecipeTraining
from benchmarks.registry import run
from benchmarks.vit_step import require_same_loss
from qkv.data.dataset import ImageDataset, ImageSplit
from qkv.errors import QKVError
from qkv.training.recipe import load_recipe


@pytest.fixture
def contestants():
    generator = np.random.default_rng(0)
    split = ImageSplit(
        store=generator.integers(0, 256, (12, 1, 28, 28), dtype=np.uint8),
        rows=np.arange(12),
        labels=generator.integers(0, 10, 12),
    )
    data = ImageDataset("random", tuple("abcdefghij"), split, None, split, "generated", {})
    device = torch.device("cpu")
    recipe = load_recipe("fashion-mnist", "reference")
    return PlainTraining(data, device), RecipeTraining(recipe, data, device)


def test_document(monkeypatch):
    monkeypatch.setattr(vit_step, "IMAGES", 250)
    told = []
    document = run("vit-step", quick=True, progress=lambda *counts: told.append(counts))
    assert document.keys() == {"case", "ratios", "figures", "machine"}
    assert document["case"] == "vit-step"
    assert document["ratios"].keys() == {"same_settings", "fast_recipe"}
    assert all(ratio > 0 for ratio in document["ratios"].values())
    figures = document["figures"]
    for name in ("plain", "qkv", "fast"):
        low, median, high = figures["quartiles_us_per_image"][name]
        assert 0 < low <= median <= high
        assert figures[f"{name}_us_per_image"] == median
    assert figures["parameters"]["plain"] == figures["parameters"]["qkv"] == 598_794
    assert figures["batch_sizes"]["plain"] == figures["batch_sizes"]["qkv"] == 100
    assert figures["precision"]["plain"] == figures["precision"]["qkv"] == "float32"
    assert figures["loss_difference"] <= 1e-5
    assert told[-1] == (figures["rounds"], figures["rounds"])
    assert document["machine"]["device"] == figures["device"]
    json.dumps(document, allow_nan=False)


def test_gate_opens_for_the_true_twin(contestants):
    plain, qkv = contestants
    before = plain.model.positions.clone()
    assert require_same_loss(plain, qkv, np.arange(12)) <= 1e-5
    # It compared qkv's weights, not two random starts that happen to agree.
    assert not torch.equal(plain.model.positions, before)


@pytest.mark.parametrize("fault", ["activation", "normalisation", "not a number"])
def test_gate_trips_for_a_perturbed_twin(contestants, fault):
    plain, qkv = contestants
    if fault == "activation":
        plain.model.blocks[0].mlp[1] = torch.nn.ReLU()
    elif fault == "normalisation":
        plain._images += 0.5
    else:
        plain._images *= float("nan")
    with pytest.raises(QKVError, match="plain twin's loss"):
        require_same_loss(plain, qkv, np.arange(12))


def test_nothing_is_timed_behind_a_shut_gate(monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("timed")

    monkeypatch.setattr(vit_step, "IMAGES", 250)
    monkeypatch.setattr(vit_step, "LOSS_TOLERANCE", -1.0)
    monkeypatch.setattr(vit_step, "interleaved", never)
    with pytest.raises(QKVError):
        vit_step.measure(quick=True)
