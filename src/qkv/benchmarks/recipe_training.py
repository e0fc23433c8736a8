"""A recipe's training, step by step and without a run folder, as a benchmark drives it.

The step is the one that `qkv.training.fit.Fit` takes, from the same parts in the same order; a test
holds the two to the same weights.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from qkv.devices import resolve_precision
from qkv.training.averaging import AveragedWeights
from qkv.training.optimizers import build_optimizer, learning_rate_at
from qkv.training.randomness import epoch_order, seed_initial_weights, seed_step
from qkv.training.recipe import VisionRecipe
from qkv.training.vision_task import VisionTask
from qkv.vision.dataset import ImageDataset, IntArray
from qkv.vision.preprocessing import Preprocessing
from qkv.vision.vit import ViT, ViTSettings


class RecipeTraining:
    """qkv's training of a Vision Transformer by a recipe.

    Args:
        recipe: what to train and how.
        dataset: its images; the recipe's validation split is already carved off.
        device: where to compute.
    """

    def __init__(self, recipe: VisionRecipe, dataset: ImageDataset, device: torch.device) -> None:
        channels, size, _ = dataset.image_shape
        data_facts = {
            "image_size": size,
            "channels": channels,
            "num_classes": len(dataset.class_names),
        }
        seed_initial_weights(recipe.seed)
        settings = recipe.training
        self.epochs = settings.epochs
        self.model = ViT(ViTSettings.parse(recipe.model.model_dump() | data_facts, where="model"))
        self.precision = resolve_precision(settings.precision, device)
        self._task = VisionTask(
            self.model,
            dataset,
            Preprocessing.parse({"image_size": size, "channels": channels}, where="preprocessing"),
            recipe.augment,
            settings,
            device,
        )
        self._step_model: nn.Module = self.model
        if settings.compile:
            compiled: Any = torch.compile(self.model)
            self._step_model = compiled
        self._optimizer = build_optimizer(self.model, settings)
        self._average = (
            AveragedWeights(self.model, settings.ema_decay) if settings.ema_decay else None
        )
        self._settings = settings
        self._seed = recipe.seed
        self._device = device
        self._learning_rate = learning_rate_at(
            settings, settings.epochs * len(self.epoch_batches(0))
        )
        self._steps_done = 0

    def epoch_batches(self, epoch: int) -> list[IntArray]:
        """Index batches of an epoch, counted from 0."""
        order = epoch_order(self._seed, epoch, self._task.train_examples)
        return list(self._task.epoch_batches(order))

    def loss(self, indices: IntArray) -> Tensor:
        """The recipe's loss on the images at `indices`, augmented as the recipe says."""
        with self._autocast():
            return self._task.train_step(self._step_model, indices).loss

    def step(self, indices: IntArray) -> float:
        """One step of the recipe's optimiser on the images at `indices`; returns the loss."""
        step = self._steps_done
        self.model.train()
        seed_step(self._seed, step)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        self._optimizer.zero_grad(set_to_none=True)
        loss = self.loss(indices)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._settings.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.max_gradient_norm)
        self._optimizer.step()
        if self._average is not None:
            self._average.update(step)
        self._steps_done += 1
        return float(loss.detach())

    def test_accuracy(self) -> float:
        """Share of the test split classified correctly by the weights that a run would keep."""
        averaged = self._average.applied() if self._average is not None else nullcontext()
        with averaged, self._autocast():
            return self._task.predict_split(self.model, "test").accuracy

    def _autocast(self) -> AbstractContextManager[None]:
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self.precision)
