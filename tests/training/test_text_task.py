"""Batches and loss of the text task, on states made here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from qkv.data.dataset import IntArray
from qkv.errors import RecipeError
from qkv.progress import Reporter
from qkv.runs import Run
from qkv.text.heads import MeanHeadSettings, build_head
from qkv.text.model import TextModel
from qkv.training.checkpoint import epoch_order, seed_initial_weights
from qkv.training.loop import Fit, TrainStep
from qkv.training.optim import build_optimizer
from qkv.training.text_recipe import TextTrainingSettings
from qkv.training.text_task import TextTask

CPU = torch.device("cpu")
DIM = 6


class Ragged:
    """States of texts of many lengths; the first number of a text's states tells its class."""

    def __init__(self, lengths: list[int], labels: IntArray, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.states = [torch.randn(length, DIM, generator=generator) for length in lengths]
        for states, label in zip(self.states, labels, strict=True):
            states[:, 0] += 2.0 * (int(label) - 1)

    @property
    def lengths(self) -> IntArray:
        return np.array([len(states) for states in self.states])

    def padded(self, indices: IntArray) -> tuple[Tensor, Tensor]:
        chosen = [self.states[i] for i in indices]
        padded = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        lengths = torch.tensor([len(states) for states in chosen])
        return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def settings(**training: Any) -> TextTrainingSettings:
    defaults = {"epochs": 3, "batch_tokens": 40, "learning_rate": 0.02, "log_every_steps": 2}
    return TextTrainingSettings.parse({**defaults, **training}, where="test")


def made(classes: int = 3, **training: Any) -> TextTask:
    generator = np.random.default_rng(0)
    inputs, labels = {}, {}
    for number, (split, count) in enumerate({"train": 37, "validation": 11}.items()):
        labels[split] = generator.integers(0, classes, count)
        lengths = [int(n) for n in generator.integers(2, 20, count)]
        inputs[split] = Ragged(lengths, labels[split], number)
    seed_initial_weights(3)
    head = build_head(MeanHeadSettings(kind="mean"), DIM, classes)
    return TextTask(TextModel(head), inputs, labels, classes, settings(**training), CPU)


@pytest.mark.parametrize("by", ["tokens", "texts"])
def test_an_epoch_visits_every_text_once_in_batches_of_like_length(by: str) -> None:
    task = made(batch_by=by, batch_size=5)
    lengths = task._inputs["train"].lengths
    for epoch in range(3):
        batches = task.epoch_batches(epoch_order(1, epoch, 37))
        assert sorted(np.concatenate(batches).tolist()) == list(range(37))
        if by == "tokens":
            assert all(len(b) * lengths[b].max() <= 40 for b in batches)
        else:
            assert sorted(len(b) for b in batches) == [2, 5, 5, 5, 5, 5, 5, 5]
        # Jitter is a tenth, so the shortest and longest of a batch are near each other.
        spread = np.mean([np.ptp(lengths[b]) for b in batches])
        assert spread < np.ptp(lengths) / 3


def test_epochs_differ_and_repeat_by_their_seed() -> None:
    task = made()
    first, again, other = (task.epoch_batches(epoch_order(1, epoch, 37)) for epoch in (0, 0, 1))
    assert [b.tolist() for b in first] == [b.tolist() for b in again]
    assert [b.tolist() for b in first] != [b.tolist() for b in other]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", ["none", "auto"])
def test_the_loss_by_the_formula(smoothing: float, weights: str) -> None:
    task = made(label_smoothing=smoothing, class_weights=weights)
    indices = np.array([5, 0, 31, 8])
    task.model.eval()
    outcome = task.train_step(task.model, indices)
    logits = task.model(*task._inputs["train"].padded(indices)).detach().double()
    all_labels = task._labels["train"]
    labels = torch.from_numpy(all_labels[indices])
    counts = np.bincount(all_labels, minlength=3)
    of_class = torch.from_numpy(37 / (3 * counts)) if weights == "auto" else torch.ones(3).double()
    targets = (1 - smoothing) * torch.eye(3).double()[labels] + smoothing / 3
    losses = -(targets * of_class * logits.log_softmax(dim=1)).sum(dim=1)
    expected = losses.sum() / of_class[labels].sum()
    assert outcome.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert int(outcome.correct) == int((logits.argmax(1) == labels).sum())


def test_two_classes_have_one_logit_and_its_binary_cross_entropy() -> None:
    task = made(classes=2)
    task.model.eval()
    indices = np.array([1, 2, 3])
    logits = task.model(*task._inputs["train"].padded(indices)).detach()
    assert torch.equal(logits[:, 0], torch.zeros(3))
    targets = torch.from_numpy(task._labels["train"][indices]).float()
    expected = F.binary_cross_entropy_with_logits(logits[:, 1], targets)
    assert task.train_step(task.model, indices).loss.item() == pytest.approx(expected.item())


def test_predictions_come_in_the_order_of_the_split() -> None:
    task = made(evaluation_batch_tokens=25)
    predictions = task.predict_split(task.model, "validation")
    assert np.array_equal(predictions.labels, task._labels["validation"])
    for index in range(11):
        alone = task.model(*task._inputs["validation"].padded(np.array([index])))
        assert predictions.logits[index] == pytest.approx(alone[0].detach().numpy(), abs=1e-5)
    assert task.split_examples("validation") == 11
    assert task.split_examples("test") == 0


def test_the_one_loop_trains_it_and_resumes_to_the_same_weights(tmp_path: Any) -> None:
    def run(name: str) -> Run:
        return Run.create(tmp_path / name, config={"format": 1}, record={"status": "running"})

    def fit(task: TextTask, run: Run, epochs: int) -> Fit:
        chosen = settings(epochs=epochs, schedule="constant", keep="best_loss")
        stepper = TrainStep(task, chosen, seed=5, device=CPU)
        return Fit(stepper, chosen, run=run, reporter=Reporter())

    whole = fit(made(), run("whole"), 4).train()
    assert whole.epochs[-1]["validation_accuracy"] > 0.8
    parts = run("parts")
    fit(made(), parts, 2).train()
    again = fit(made(), parts, 4)
    assert again.resume()
    again.train()
    expected = Run(tmp_path / "whole").weights()
    for name, tensor in parts.weights().items():
        assert torch.equal(tensor, expected[name]), name


def test_encoder_layers_take_steps_of_their_own() -> None:
    chosen = settings(learning_rate=0.01, encoder_learning_rate=0.0002)
    model = TextModel(torch.nn.Linear(DIM, 2), torch.nn.Linear(DIM, DIM))
    for optimizer in ("adam", "adamw"):
        changed = settings(learning_rate=0.01, encoder_learning_rate=0.0002, optimizer=optimizer)
        factors = {
            id(p): group["learning_rate_factor"]
            for group in build_optimizer(model, changed).param_groups
            for p in group["params"]
        }
        assert len(factors) == 4
        for name, parameter in model.named_parameters():
            expected = 0.02 if name.startswith("top.") else 1.0
            assert factors[id(parameter)] == pytest.approx(expected)
    assert chosen.learning_rate_factor("head.output.weight") == 1.0


def test_muon_is_refused() -> None:
    with pytest.raises(RecipeError, match="muon is for the blocks"):
        settings(optimizer="muon")
