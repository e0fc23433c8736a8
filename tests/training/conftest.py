"""A learnable toy set of images and a model so small that a step takes milliseconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qkv.data.dataset import ImageDataset, ImageSplit
from qkv.progress import Reporter
from qkv.runs import Run
from qkv.training.checkpoint import seed_initial_weights
from qkv.training.loop import Fit, Task, TrainStep
from qkv.training.training_settings import TrainingSettings
from qkv.training.vision_task import VisionTask
from qkv.vision.augment import AugmentSettings
from qkv.vision.classifier import Preprocessing
from qkv.vision.vit import ViT, ViTSettings

CPU = torch.device("cpu")


def toy_split(counts: list[int], seed: int) -> ImageSplit:
    """Grey 8 × 8 images in which a class is a bright band of rows under noise."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = generator.integers(0, 90, (len(labels), 1, 8, 8), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[0, 2 * label : 2 * label + 2] += 150
    return ImageSplit(pixels, np.arange(len(labels)), labels)


@pytest.fixture(scope="session")
def toy() -> ImageDataset:
    return ImageDataset(
        name="toy",
        class_names=("top", "middle", "bottom"),
        train=toy_split([12, 6, 4], 0),  # batches of 5 make 5 steps an epoch, the last of 2 images
        validation=toy_split([4, 3, 2], 1),
        test=toy_split([3, 3, 3], 2),
        source="made by the tests",
        sha256={},
    )


@dataclasses.dataclass
class Bench:
    """Makes tasks and fits on the toy set; runs lie in `folder` by name."""

    folder: Path
    dataset: ImageDataset

    def settings(self, **training: Any) -> TrainingSettings:
        defaults = {"epochs": 3, "batch_size": 5, "learning_rate": 0.01, "log_every_steps": 2}
        return TrainingSettings.parse({**defaults, **training}, where="test")

    def task(
        self,
        settings: TrainingSettings,
        *,
        seed: int = 7,
        dropout: float = 0.1,
        augment: dict[str, Any] | None = None,
        **model: Any,
    ) -> VisionTask:
        seed_initial_weights(seed)
        architecture = {
            "image_size": 8, "channels": 1, "num_classes": 3, "patch_size": 4, "dim": 8,
            "depth": 1, "num_heads": 2, "head_dim": 4, "mlp_dim": 16, "dropout": dropout,
        }  # fmt: skip
        vit = ViT(ViTSettings.parse({**architecture, **model}, where="test"))
        return VisionTask(
            vit,
            self.dataset,
            Preprocessing(image_size=8, channels=1),
            AugmentSettings.parse(augment or {}, where="test"),
            settings,
            CPU,
        )

    def run(self, name: str) -> Run:
        path = self.folder / name
        return Run.open(path) if path.exists() else Run.create(path, config={}, record={})

    def fit(
        self,
        name: str,
        *,
        reporter: Reporter | None = None,
        seed: int = 7,
        wrap: Callable[[Task], Task] = lambda task: task,
        task_options: dict[str, Any] | None = None,
        **training: Any,
    ) -> Fit:
        """A fit in the run `name`, which is made if it is not there."""
        settings = self.settings(**training)
        task = wrap(self.task(settings, seed=seed, **(task_options or {})))
        stepper = TrainStep(task, settings, seed=seed, device=CPU)
        return Fit(stepper, settings, run=self.run(name), reporter=reporter or Reporter())


@pytest.fixture
def bench(tmp_path: Path, toy: ImageDataset) -> Bench:
    return Bench(tmp_path, toy)
