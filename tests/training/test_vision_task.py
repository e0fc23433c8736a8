"""Batches and loss of the image task, against numbers made another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qkv.training.checkpoint import seed_step

INDICES = np.array([3, 0, 21, 7])


def images_of(task: Any, indices: Any = INDICES) -> torch.Tensor:
    raw = torch.from_numpy(task._train.take(indices)).float()
    return (raw / 255 - 0.5) / 0.5


def test_an_epoch_visits_every_example_once(bench: Any) -> None:
    task = bench.task(bench.settings(batch_size=5))
    order = np.random.default_rng(0).permutation(22)
    batches = task.epoch_batches(order)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 2]
    assert np.array_equal(np.concatenate(batches), order)
    assert [len(batch) for batch in task.epoch_batches(order[:20])] == [5, 5, 5, 5]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", ["none", "auto"])
def test_the_loss_by_the_formula(bench: Any, smoothing: float, weights: str) -> None:
    settings = bench.settings(label_smoothing=smoothing, class_weights=weights)
    task = bench.task(settings, dropout=0.0)
    outcome = task.train_step(task.model, INDICES)
    logits = task.model(images_of(task)).detach().double()
    labels = torch.from_numpy(bench.dataset.train.labels[INDICES])
    of_class = torch.tensor([22 / (3 * count) for count in (12, 6, 4)]).double()
    of_class = of_class if weights == "auto" else torch.ones(3).double()
    targets = (1 - smoothing) * torch.eye(3).double()[labels] + smoothing / 3
    losses = -(targets * of_class * logits.log_softmax(dim=1)).sum(dim=1)
    expected = losses.sum() / of_class[labels].sum()
    assert outcome.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert outcome.examples == 4
    assert int(outcome.correct) == int((logits.argmax(1) == labels).sum())


@pytest.mark.parametrize(
    "options",
    [{"dropout": 0.3}, {"dropout": 0.0, "augment": {"shift_pixels": 2}}],
    ids=["dropout", "augmentation"],
)
def test_augmentation_and_dropout_follow_the_seed(bench: Any, options: dict[str, Any]) -> None:
    task = bench.task(bench.settings(), **options)
    task.model.train()

    def loss(step: int) -> float:
        seed_step(1, step)
        return float(task.train_step(task.model, INDICES).loss.detach())

    assert loss(0) == loss(0)
    assert loss(0) != loss(1)


def test_only_training_images_are_augmented(bench: Any) -> None:
    plain = bench.task(bench.settings())
    augmented = bench.task(
        bench.settings(), augment={"erase_probability": 1.0, "erase_max_fraction": 1.0}
    )
    one = plain.predict_split(plain.model, "validation")
    other = augmented.predict_split(augmented.model, "validation")
    np.testing.assert_array_equal(one.logits, other.logits)


def test_predictions_are_in_the_order_of_the_split(bench: Any) -> None:
    task = bench.task(bench.settings(evaluation_batch_size=4))
    predictions = task.predict_split(task.model, "validation")
    split = bench.dataset.validation
    with torch.no_grad():
        raw = torch.from_numpy(split.take(np.arange(len(split)))).float()
        logits = task.model.eval()((raw / 255 - 0.5) / 0.5).double()
    np.testing.assert_allclose(predictions.logits, logits.numpy(), rtol=1e-4, atol=1e-5)
    labels = torch.from_numpy(split.labels)
    assert predictions.loss == pytest.approx(
        torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5
    )
    assert predictions.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_splits_that_are_not_there(bench: Any) -> None:
    import dataclasses

    bench.dataset = dataclasses.replace(bench.dataset, validation=None)
    task = bench.task(bench.settings())
    assert task.split_examples("validation") == 0
    assert task.split_examples("test") == 9
