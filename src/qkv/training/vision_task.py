"""Image classification as a task: its recipe, its data, its model, its loss and its results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from qkv.data import fashion_mnist
from qkv.data.dataset import ImageDataset, ImageSplit, IntArray
from qkv.data.image_folder import ImageFolderSettings, load_image_folder
from qkv.errors import DataError
from qkv.evaluation.calibration import fit_temperature
from qkv.evaluation.metrics import evaluate_predictions
from qkv.progress import Reporter
from qkv.runs import Run
from qkv.training.checkpoint import seed_initial_weights
from qkv.training.loop import Predictions, SplitName, StepOutcome
from qkv.training.training_settings import Recipe, TrainableTask, TrainingSettings
from qkv.vision.augment import AugmentSettings, augment
from qkv.vision.classifier import Preprocessing, VisionClassifier, predict_logits
from qkv.vision.vit import ViT, ViTArchitecture, ViTSettings


class ImageDataSettings(ImageFolderSettings):
    """Which images are read, and what is set aside for validation."""

    dataset: Literal["fashion-mnist", "folder"]
    """A known data set, or a folder of the user's own."""
    validation_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the training split carved off for validation when the data bring none."""

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.dataset == "folder" and self.validation_fraction == 0.0:
            raise ValueError("a folder of images needs validation_fraction above 0")
        return self if self.dataset != "folder" else self.require_some_to_train()


class VisionRecipe(Recipe):
    """Everything that determines a vision run, but the data's bytes."""

    task: Literal["vision"]
    """The kind of model."""
    data: ImageDataSettings
    """Which images."""
    model: ViTArchitecture = ViTArchitecture()
    """The Vision Transformer."""
    augment: AugmentSettings = AugmentSettings()
    """Random changes to training images."""

    @model_validator(mode="after")
    def _validation_where_it_decides(self) -> Self:
        decides = self.training.keep != "last" or self.training.early_stopping_epochs is not None
        if decides and self.data.validation_fraction == 0.0:
            raise ValueError(
                "keeping the best epoch or stopping early needs data.validation_fraction above 0"
            )
        return self


def load_images(
    recipe: VisionRecipe, data: Path | None, *, skip_bad: bool, reporter: Reporter
) -> ImageDataset:
    """The images of a recipe, with the validation split that it asks for.

    Raises:
        DataError: the data are missing or unfit.
    """
    if recipe.data.dataset == "fashion-mnist":
        progress = reporter.progress("data", "bytes")
        dataset = fashion_mnist.load(data, progress=progress)
        return dataset.with_validation(recipe.data.validation_fraction, recipe.seed)
    if data is None:
        raise DataError("no images were named", remedy="name a folder with --data FOLDER")
    return load_image_folder(
        data,
        recipe.data,
        seed=recipe.seed,
        skip_bad=skip_bad,
        progress=reporter.progress("data", "files"),
    )


def inverse_frequencies(labels: IntArray, classes: int) -> Tensor:
    """`examples / (classes · count)` of each class, float32 (classes,); a missing one counts 1."""
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32)


def classification_outcome(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None, settings: TrainingSettings
) -> StepOutcome:
    """Cross-entropy of a batch: logits (examples, classes), int64 labels (examples,)."""
    smoothing = settings.label_smoothing
    loss = F.cross_entropy(logits, labels, weight=class_weights, label_smoothing=smoothing)
    return StepOutcome(loss, (logits.detach().argmax(dim=1) == labels).sum(), len(labels))


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
        return classification_outcome(logits, labels, self._class_weights, self._settings)

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


SAMPLES, MISTAKES = 3, 16


def finish_vision(
    run: Run,
    recipe: Recipe,
    dataset: ImageDataset,
    classifier: VisionClassifier,
    reporter: Reporter,  # noqa: ARG001
) -> None:
    """Fit the temperature, test, and save both; nothing of it is slow enough to be reported."""
    classifier.temperature = 1.0
    if recipe.training.calibrate and dataset.validation is not None:
        raw = classifier.predict_logits(dataset.validation)
        classifier.temperature = fit_temperature(raw.numpy(), dataset.validation.labels)
    run.update_config(temperature=classifier.temperature)
    if dataset.test is None:
        return
    logits = classifier.predict_logits(dataset.test)
    run.save_results(_image_results(logits, dataset.test))
    document = evaluate_predictions(logits.numpy(), dataset.test.labels, classifier.class_names)
    record = run.record()
    same = {key: record[key] for key in ("parameters", "train_seconds", "seed")}
    run.update_record(test={**document, **same})


def _image_results(logits: Tensor, test: ImageSplit) -> dict[str, Tensor]:
    labels = torch.from_numpy(test.labels)
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    wrong = torch.nonzero(predicted != labels)[:, 0]
    mistakes = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES]
    samples = torch.arange(min(SAMPLES, len(labels)))
    return {
        "test_logits": logits,
        "test_labels": labels,
        "sample_indices": samples,
        "sample_images": torch.from_numpy(test.take(samples.numpy())),
        "mistake_indices": mistakes,
        "mistake_images": torch.from_numpy(test.take(mistakes.numpy())),
    }


VISION = TrainableTask(VisionRecipe, load_images, build_vision_task, finish_vision)
