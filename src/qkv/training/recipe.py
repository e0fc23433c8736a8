"""Recipes: validated settings that say what is trained, how, and what to expect of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from qkv.errors import RecipeError
from qkv.settings import Settings, nearest
from qkv.training.settings import TrainingSettings
from qkv.vision.augment import AugmentSettings
from qkv.vision.folder import ImageFolderSettings
from qkv.vision.vit import ViTArchitecture


class Promise(Settings):
    """What a recipe is expected to reach; a benchmark holds it to that."""

    test_accuracy: float = Field(ge=0.0, le=1.0)
    """Share of the test split that is classified correctly."""
    train_minutes: float = Field(gt=0.0)
    """Minutes of training."""
    machine: str
    """The machine on which this was seen."""


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


Recipe = VisionRecipe
TASKS: dict[str, type[Recipe]] = {"vision": VisionRecipe}
DEFAULT_NAMES = ("fast", "default")


def recipe_families() -> dict[str, list[str]]:
    """Names of the recipes that come with qkv, by family."""
    root = resources.files("qkv") / "recipes"
    return {
        family.name: sorted(
            entry.name.removesuffix(".toml")
            for entry in family.iterdir()
            if entry.name.endswith(".toml")
        )
        for family in sorted(root.iterdir(), key=lambda entry: entry.name)
        if family.is_dir() and not family.name.startswith(("_", "."))
    }


def load_recipe(family: str, name: str | None = None, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe `name` of a family, or of a TOML file, with `key=value` overrides applied.

    Args:
        family: a recipe family, such as `fashion-mnist` or `vision`.
        name: a recipe of the family, or a path that ends in `.toml`; the family's default if None.
        overrides: settings such as `training.epochs=3`; the value is read as TOML, or as a string.

    Raises:
        RecipeError: the family, recipe, a key or a value is wrong; the nearest name is offered.
    """
    values, where = _read(family, name)
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values, where=where)


def parse_recipe(values: Mapping[str, Any], *, where: str) -> Recipe:
    """Validate a recipe given as nested mappings.

    Raises:
        RecipeError: a key or a value is wrong.
    """
    task = values.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise RecipeError(
            f"{where}: task is {task!r}", remedy=f"set task to one of {', '.join(TASKS)}"
        )
    return TASKS[task].parse(values, where=where)


def _read(family: str, name: str | None) -> tuple[dict[str, Any], str]:
    families = recipe_families()
    if family not in families:
        raise RecipeError(
            f"unknown task {family!r}", remedy=nearest(family, families, what="tasks")
        )
    if name is not None and name.endswith(".toml"):
        return _parse_toml(_read_file(Path(name)), name), name
    known = families[family]
    chosen = name or next(default for default in DEFAULT_NAMES if default in known)
    if chosen not in known:
        raise RecipeError(
            f"task {family!r} has no recipe {chosen!r}",
            remedy=nearest(chosen, known, what="recipes"),
        )
    where = f"{family}/{chosen}"
    file = resources.files("qkv") / "recipes" / family / f"{chosen}.toml"
    return _parse_toml(file.read_text(encoding="utf-8"), where), where


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read recipe {path}: {error}", remedy="name a readable TOML file"
        ) from None


def _parse_toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: {error}", remedy="correct the TOML") from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise RecipeError(
            f"--set {override!r} is not key=value", remedy="write it as training.epochs=3"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    target = values
    for section in sections:
        inner = target.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(
                f"--set {override!r}: {section!r} is not a section",
                remedy="name a setting such as training.epochs",
            )
        target = inner
    if text.strip().lower() == "none":
        target.pop(last, None)
        return
    target[last] = value
