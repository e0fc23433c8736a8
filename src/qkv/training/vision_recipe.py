"""Recipes of Vision Transformers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from qkv.data.image_folder import ImageFolderSettings
from qkv.settings import Settings
from qkv.training.promise import Promise
from qkv.training.settings import TrainingSettings
from qkv.vision.augment import AugmentSettings
from qkv.vision.vit import ViTArchitecture


class ImageDataSettings(Settings):
    """Which images are read, and what is set aside for validation."""

    dataset: Literal["fashion-mnist", "folder"]
    """A known data set, or a folder of the user's own."""
    validation_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the training split carved off for validation when the data bring none."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of a folder without a test split that is carved off for testing."""
    image_size: int | None = Field(default=None, ge=8, le=1024, multiple_of=4)
    """Side of the square that a folder's images are resized and cropped to; none: by the data."""
    channels: Literal["auto", 1, 3] = "auto"
    """Channels of a folder's images: 1 grey, 3 colour, `auto` by the data."""

    @model_validator(mode="after")
    def _splits_leave_something(self) -> Self:
        if self.dataset == "folder" and self.validation_fraction == 0.0:
            raise ValueError("a folder of images needs validation_fraction above 0")
        if self.dataset == "folder" and self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        return self

    def folder_settings(self) -> ImageFolderSettings:
        """The part that concerns a folder of images."""
        return ImageFolderSettings(
            image_size=self.image_size,
            channels=self.channels,
            validation_fraction=self.validation_fraction,
            test_fraction=self.test_fraction,
        )


class VisionRecipe(Settings):
    """Everything that determines a vision run, but the data's bytes."""

    task: Literal["vision"]
    """The kind of model."""
    description: str = ""
    """What the recipe is for, in one sentence."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Governs splits, initial weights, order of examples, augmentation and dropout."""
    data: ImageDataSettings
    """Which images."""
    model: ViTArchitecture = ViTArchitecture()
    """The Vision Transformer."""
    augment: AugmentSettings = AugmentSettings()
    """Random changes to training images."""
    training: TrainingSettings = TrainingSettings()
    """The fit."""
    promise: Promise | None = None
    """What to expect."""

    @model_validator(mode="after")
    def _validation_where_it_decides(self) -> Self:
        decides = self.training.keep != "last" or self.training.early_stopping_epochs is not None
        if decides and self.data.validation_fraction == 0.0:
            raise ValueError(
                "keeping the best epoch or stopping early needs data.validation_fraction above 0"
            )
        return self
