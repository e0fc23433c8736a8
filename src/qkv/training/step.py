"""One training step, and the schedule of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from qkv.data.dataset import IntArray
from qkv.devices import autocast, resolve_precision
from qkv.training.averaging import AveragedWeights
from qkv.training.optimizers import build_optimizer, learning_rate_at
from qkv.training.randomness import epoch_order, seed_step
from qkv.training.settings import TrainingSettings
from qkv.training.task import Predictions, SplitName, StepOutcome, Task


class Stepper:
    """Takes the steps of a training.

    What a step does depends on the state of weights and optimiser, the seed and the step's number,
    and on nothing else.

    Args:
        task: the model, its batches and its loss.
        settings: how to fit.
        seed: governs order, augmentation and dropout.
        device: where the model lies.
        model: what to train instead of the task's own model, such as a copy of it.

    Attributes:
        task: as given.
        model: the one that is trained.
        optimizer: over the model's trainable parameters.
        average: averaged weights, if the settings ask for them.
        precision: dtype of matrix products.
        total_steps: steps of the whole training.
        learning_rate: the step size of a step's number.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainingSettings,
        *,
        seed: int,
        device: torch.device,
        model: nn.Module | None = None,
    ) -> None:
        self.task = task
        self.model = task.model if model is None else model
        self.optimizer = build_optimizer(self.model, settings)
        self.average = (
            AveragedWeights(self.model, settings.ema_decay) if settings.ema_decay else None
        )
        self.precision = resolve_precision(settings.precision, device)
        self._seed = seed
        self._device = device
        self._max_gradient_norm = settings.max_gradient_norm
        self._called_model = self.model
        if settings.compile:
            compiled: Any = torch.compile(self.model)
            self._called_model = compiled
        # Batches by token budget need not be as many in every epoch.
        self.total_steps = sum(len(self.epoch_batches(epoch)) for epoch in range(settings.epochs))
        self.learning_rate = learning_rate_at(settings, self.total_steps)

    def epoch_batches(self, epoch: int) -> Sequence[IntArray]:
        """Index batches of an epoch, counted from 0, in the order of the seed."""
        order = epoch_order(self._seed, epoch, self.task.train_examples)
        return self.task.epoch_batches(order)

    def step(self, indices: IntArray, number: int) -> StepOutcome:
        """Update the weights by the examples at `indices`, as step `number`, counted from 0."""
        self.model.train()
        seed_step(self._seed, number)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(number) * group.get("learning_rate_factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self._device, self.precision):
            outcome = self.task.train_step(self._called_model, indices)
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        if self._max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._max_gradient_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(number)
        return StepOutcome(outcome.loss.detach(), outcome.correct, outcome.examples)

    def predict(self, split: SplitName) -> Predictions:
        """Logits for a split by the weights as they are; see `kept_weights`."""
        with autocast(self._device, self.precision):
            return self.task.predict_split(self.model, split)

    def kept_weights(self) -> AbstractContextManager[None]:
        """Within this context the model holds the weights that a run keeps: the average, if any."""
        return nullcontext() if self.average is None else self.average.applied()
