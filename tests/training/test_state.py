"""The position of a training, saved and restored."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

from qkv.errors import RunError
from qkv.training.checkpoint import (
    AveragedWeights,
    RunningMean,
    TrainingState,
    restore_tensors,
    training_tensors,
)
from qkv.training.optim import build_optimizer
from qkv.training.training_settings import TrainingSettings


def parts(width: int = 3, *, steps: int = 0) -> tuple[Any, Any, Any]:
    torch.manual_seed(width)
    model = nn.Sequential(nn.Linear(width, 4), nn.LayerNorm(4))
    settings = TrainingSettings.parse({"optimizer": "adamw", "weight_decay": 0.1}, where="test")
    optimizer = build_optimizer(model, settings)
    average = AveragedWeights(model, 0.9)
    for step in range(steps):
        train_step(model, optimizer, average, step)
    return model, optimizer, average


def train_step(model: Any, optimizer: Any, average: Any, step: int) -> None:
    optimizer.zero_grad()
    model(torch.linspace(0, step + 1, model[0].in_features)).square().sum().backward()
    optimizer.step()
    average.update(step)


def test_a_tally_weighs_batches_by_their_size() -> None:
    tally = RunningMean()
    assert (tally.mean_loss, tally.accuracy) == (0.0, 0.0)
    tally.add(1.0, 3, 3)
    tally.add(5.0, 0, 1)
    assert (tally.mean_loss, tally.accuracy) == (2.0, 0.75)


def test_a_position_survives_json() -> None:
    position = TrainingState(step=3, epoch=1, batch=2, seconds=0.1, best=-0.25, best_epoch=1)
    position.in_epoch.add(1 / 3, 2, 7)
    position.epochs.append({"epoch": 1, "train_loss": 0.1})
    assert TrainingState.from_facts(json.loads(json.dumps(asdict(position)))) == position
    assert TrainingState.from_facts(asdict(TrainingState())) == TrainingState()


def test_training_goes_on_bit_for_bit() -> None:
    one = parts(steps=4)
    other = parts(steps=0)
    saved = {name: tensor.clone() for name, tensor in training_tensors(*one).items()}
    restore_tensors(saved, *other)
    for step in range(4, 8):
        train_step(*one, step)
        train_step(*other, step)
    after, again = training_tensors(*one), training_tensors(*other)
    assert list(after) == list(again)
    assert all(torch.equal(after[name], again[name]) for name in after)
    kinds = {name.partition("/")[0] for name in after}
    assert kinds == {"model", "optimizer", "average"}
    assert {name.split("/")[-1] for name in after if name.startswith("optimizer/")} == {
        "step",
        "exp_avg",
        "exp_avg_sq",
    }


def test_a_restored_state_does_not_alias_the_saved_tensors() -> None:
    saved = {name: tensor.clone() for name, tensor in training_tensors(*parts(steps=2)).items()}
    kept = {name: tensor.clone() for name, tensor in saved.items()}
    other = parts()
    restore_tensors(saved, *other)
    train_step(*other, 2)
    assert all(torch.equal(saved[name], kept[name]) for name in saved if "model" in name)


def test_the_state_of_another_model_is_refused() -> None:
    saved = training_tensors(*parts(width=5, steps=1))
    with pytest.raises(RunError, match="does not fit the model"):
        restore_tensors(saved, *parts(width=3))


def test_a_state_without_its_average_is_refused() -> None:
    model, optimizer, average = parts(steps=1)
    saved = training_tensors(model, optimizer, None)
    with pytest.raises(RunError, match="does not fit the model"):
        restore_tensors(saved, model, optimizer, average)
