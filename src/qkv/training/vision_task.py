"""Image classification as a task of the training loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qkv.data.dataset import ImageDataset, ImageSplit, IntArray
from qkv.progress import Reporter
from qkv.training.checkpoint import seed_initial_weights
from qkv.training.loop import Predictions, SplitName, StepOutcome
from qkv.training.recipe import TrainingSettings, VisionRecipe
from qkv.vision.augment import AugmentSettings, augment
from qkv.vision.classifier import Preprocessing, predict_logits
from qkv.vision.vit import ViT, ViTSettings


def inverse_frequencies(labels: IntArray, classes: int) -> Tensor:
    """`examples / (classes · count)` of each class, float32 (classes,); a missing one counts 1."""
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32)


# A training split up to this size is kept on an accelerator, where batches then cost no transfer.
RESIDENT_BYTES = 2 * 2**30


class VisionTask:
    """A ViT, a data set of images, and the cross-entropy between them."""

    unit = "images"

    def __init__(
        self,
        model: ViT,
        dataset: ImageDataset,
        preprocessing: Preprocessing,
        augmentation: AugmentSettings,
        settings: TrainingSettings,
        device: torch.device,
    ) -> None:
        self.model = model.to(device)
        self.preprocessing = preprocessing
        self.train_examples = len(dataset.train)
        self._splits: dict[SplitName, ImageSplit | None] = {
            "validation": dataset.validation,
            "test": dataset.test,
        }
        self._train = dataset.train
        self._augmentation = augmentation
        self._settings = settings
        self._device = device
        self._class_weights: Tensor | None = None
        if settings.class_weights == "auto":
            weights = inverse_frequencies(dataset.train.labels, len(dataset.class_names))
            self._class_weights = weights.to(device)
        self._resident = self._move_to_accelerator()

    def epoch_batches(self, order: IntArray) -> Sequence[IntArray]:
        """Batches of `batch_size`; the last may be smaller."""
        size = self._settings.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def train_step(self, model: nn.Module, indices: IntArray) -> StepOutcome:
        """Cross-entropy of the augmented images at `indices`."""
        images = self.preprocessing.normalise(augment(self._images(indices), self._augmentation))
        labels = torch.from_numpy(self._train.labels[indices]).to(self._device)
        logits = model(images).float()
        loss = F.cross_entropy(
            logits,
            labels,
            weight=self._class_weights,
            label_smoothing=self._settings.label_smoothing,
        )
        correct = (logits.detach().argmax(dim=1) == labels).sum()
        return StepOutcome(loss, correct, len(indices))

    def split_examples(self, split: SplitName) -> int:
        """How many images a split has; 0 if there is no such split."""
        images = self._splits[split]
        return 0 if images is None else len(images)

    def predict_split(self, model: nn.Module, split: SplitName) -> Predictions:
        """Logits in the order of the split."""
        images = self._splits[split]
        assert images is not None, split
        logits = predict_logits(
            model, images, self.preprocessing, self._settings.evaluation_batch_size, self._device
        )
        return Predictions(logits.numpy(), images.labels)

    def _images(self, indices: IntArray) -> Tensor:
        if self._resident is not None:
            return self._resident[torch.from_numpy(indices).to(self._device)]
        return torch.from_numpy(self._train.take(indices)).to(self._device)

    def _move_to_accelerator(self) -> Tensor | None:
        size = len(self._train) * int(np.prod(self._train.store.shape[1:]))
        if self._device.type == "cpu" or size > RESIDENT_BYTES:
            return None
        return torch.from_numpy(self._train.take(np.arange(len(self._train)))).to(self._device)


def build_vision_task(
    recipe: VisionRecipe,
    dataset: ImageDataset,
    device: torch.device,
    reporter: Reporter,  # noqa: ARG001
) -> tuple[VisionTask, dict[str, Any]]:
    """The task of a recipe on its data, with the initial weights of its seed, and its config.

    Raises:
        RecipeError: the model does not fit the images, such as a patch that does not divide them.
    """
    channels, size, _ = dataset.image_shape
    seen = {"image_size": size, "channels": channels}
    settings = ViTSettings.parse(
        {**recipe.model.model_dump(), **seen, "num_classes": len(dataset.class_names)},
        where="model",
    )
    preprocessing = Preprocessing.parse(seen, where="preprocessing")
    seed_initial_weights(recipe.seed)
    task = VisionTask(
        ViT(settings), dataset, preprocessing, recipe.augment, recipe.training, device
    )
    return task, {
        "model": settings.model_dump(mode="json"),
        "preprocessing": preprocessing.model_dump(mode="json"),
    }
