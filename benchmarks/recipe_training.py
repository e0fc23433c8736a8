"""A recipe's training, step by step and without a run folder, as a benchmark drives it."""

from __future__ import annotations

import torch
from torch import Tensor

from qkv.data.dataset import ImageDataset, IntArray
from qkv.devices import autocast
from qkv.progress import Silent
from qkv.training.loop import TrainStep
from qkv.training.recipe import VisionRecipe
from qkv.training.vision_task import build_vision_task


class RecipeTraining:
    """qkv's training of a Vision Transformer by a recipe.

    Args:
        recipe: what to train and how.
        dataset: its images; the recipe's validation split is already carved off.
        device: where to compute.
    """

    def __init__(self, recipe: VisionRecipe, dataset: ImageDataset, device: torch.device) -> None:
        self._task, _ = build_vision_task(recipe, dataset, device, Silent())
        self.model = self._task.model
        self.epochs = recipe.training.epochs
        self._stepper = TrainStep(self._task, recipe.training, seed=recipe.seed, device=device)
        self.precision = self._stepper.precision
        self._device = device
        self._steps_done = 0

    def epoch_batches(self, epoch: int) -> list[IntArray]:
        """Index batches of an epoch, counted from 0."""
        return list(self._stepper.epoch_batches(epoch))

    def loss(self, indices: IntArray) -> Tensor:
        """The recipe's loss on the images at `indices`, augmented as the recipe says."""
        with autocast(self._device, self.precision):
            return self._task.train_step(self.model, indices).loss

    def step(self, indices: IntArray) -> float:
        """One step of the recipe's optimiser on the images at `indices`; returns the loss."""
        outcome = self._stepper.step(indices, self._steps_done)
        self._steps_done += 1
        return float(outcome.loss)

    def test_accuracy(self) -> float:
        """Share of the test split classified correctly by the weights that a run would keep."""
        with self._stepper.kept_weights():
            return self._stepper.predict("test").accuracy
