"""Recipes: validated settings that say what is trained, how, and what to expect of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from qkv.data.image_folder import ImageFolderSettings
from qkv.data.text_files import TextTableSettings
from qkv.devices import DeviceName, Precision
from qkv.errors import RecipeError
from qkv.settings import Settings, nearest
from qkv.text.encoder import EncoderSettings
from qkv.text.heads import AttentionHeadSettings, HeadSettings
from qkv.text.ngrams import NGramSettings
from qkv.vision.augment import AugmentSettings
from qkv.vision.vit import ViTArchitecture


class Expected(Settings):
    """What a recipe is expected to reach; a benchmark holds it to that."""

    test_accuracy: float = Field(ge=0.0, le=1.0)
    """Share of the test split that is classified correctly."""
    train_minutes: float = Field(gt=0.0)
    """Minutes of training."""
    machine: str
    """The machine on which this was seen."""


def _with_new_names(values: Any) -> Any:
    """`[promise]` of recipes and runs of version 0.1 is `[expected]` now."""
    if not isinstance(values, Mapping) or "promise" not in values or "expected" in values:
        return values
    return {("expected" if key == "promise" else key): value for key, value in values.items()}


class TrainingSettings(Settings):
    """How a model is fitted."""

    epochs: int = Field(default=5, ge=1, le=10_000)
    """Passes over the training split."""
    batch_size: int = Field(default=100, ge=1, le=65_536)
    """Examples a step; the last batch of an epoch may be smaller."""
    evaluation_batch_size: int = Field(default=1000, ge=1, le=65_536)
    """Examples a batch when only predicting."""
    optimizer: Literal["adam", "adamw", "muon"] = "adamw"
    """Adam; AdamW, whose weight decay spares norms, biases, positions and the class token; or Muon
    for the matrices of the blocks beside AdamW for all else."""
    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    """Peak step size."""
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Decay of the first moment, a step."""
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of the second moment, a step."""
    momentum: float = Field(default=0.95, ge=0.0, lt=1.0)
    """Decay of Muon's momentum, a step."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=10.0)
    """Decoupled decay of AdamW; Adam takes none."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Shape of the step size after warm-up: level, straight to zero, or half a cosine to zero."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the step size grows linearly from zero to its peak."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of each target spread evenly over all classes."""
    max_gradient_norm: float | None = Field(default=None, gt=0.0)
    """Gradients with a larger Euclidean norm are scaled down to it; none: no clipping."""
    ema_decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Decay a step of the averaged weights that are evaluated and saved; 0: no averaging."""
    class_weights: Literal["none", "auto"] = "none"
    """`auto` weighs each class in the loss by the inverse of its frequency."""
    calibrate: bool = True
    """Fit a temperature on the validation split, where there is one; all answers then use it."""
    keep: Literal["last", "best_loss", "best_accuracy"] = "last"
    """Which epoch's weights are kept, by the validation split."""
    early_stopping_epochs: int | None = Field(default=None, ge=1)
    """Stop after this many epochs without a better validation result; none: never."""
    precision: Precision = "float32"
    """Precision of matrix products: float32, bfloat16, or `auto` (bfloat16 where it is native)."""
    compile: bool = False
    """Compile the model with torch.compile before training."""
    device: DeviceName = "auto"
    """Where to train: auto, cpu, cuda or mps."""
    log_every_steps: int = Field(default=100, ge=1)
    """Steps between two lines of log.jsonl."""
    checkpoint_every_seconds: float = Field(default=30.0, ge=0.0)
    """Time between two saved positions to resume from; an epoch's end always saves one."""
    test_each_epoch: bool = False
    """Also report the test split after each epoch; it never decides anything."""

    def learning_rate_factor(self, name: str) -> float:  # noqa: ARG002
        """What the step size is multiplied by for the parameter called `name`."""
        return 1.0


TOP_PREFIX = "top."


class TextDataSettings(Settings):
    """Which texts are read, and what is set aside."""

    dataset: Literal["imdb", "table"]
    """A known data set, or a table or folder of the user's own."""
    text_column: str | None = None
    """Column of a table that holds the text; none: the one that must be it."""
    label_column: str | None = None
    """Column of a table that holds the class; none: the one that must be it."""
    validation_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the training split carved off for validation when the data bring none."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of a table without a test split that is carved off for testing."""

    @model_validator(mode="after")
    def _a_table_can_be_read_so(self) -> Self:
        if self.text_column is not None and self.text_column == self.label_column:
            raise ValueError(f"text_column and label_column are both {self.text_column!r}")
        if self.dataset == "table" and self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        return self

    def table_settings(self) -> TextTableSettings:
        """The part that concerns a table of the user's own."""
        return TextTableSettings(
            text_column=self.text_column,
            label_column=self.label_column,
            validation_fraction=self.validation_fraction,
            test_fraction=self.test_fraction,
        )


class TextTrainingSettings(TrainingSettings):
    """How a head, or a head and the top of its encoder, is fitted."""

    batch_by: Literal["tokens", "texts"] = "tokens"
    """Whether `batch_tokens` or `batch_size` cuts the batches; texts of a batch are alike in length
    either way."""
    batch_tokens: int = Field(default=16_384, ge=1)
    """Tokens a batch, padding included."""
    evaluation_batch_tokens: int = Field(default=16_384, ge=1)
    """Tokens a batch when only predicting, padding included."""
    encoder_learning_rate: float = Field(default=5e-5, gt=0.0, le=1.0)
    """Peak step size of encoder layers that are trained too."""

    @model_validator(mode="after")
    def _an_optimiser_for_heads(self) -> Self:
        if self.optimizer == "muon":
            raise ValueError("muon is for the blocks of a Vision Transformer: use adam or adamw")
        return self

    def learning_rate_factor(self, name: str) -> float:
        """The encoder's layers take steps of their own size."""
        if name.startswith(TOP_PREFIX):
            return self.encoder_learning_rate / self.learning_rate
        return 1.0


class TextRecipe(Settings):
    """Everything that determines a text run, but the data's bytes."""

    task: Literal["text"]
    """The kind of model."""
    description: str = ""
    """What the recipe is for, in one sentence."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Governs splits, initial weights, order of examples and dropout."""
    data: TextDataSettings
    """Which texts."""
    encoder: EncoderSettings = EncoderSettings()
    """What turns a text into states, and which of its states."""
    states: Literal["float16", "int8"] = "float16"
    """How states are kept: 2 bytes a number, or 1 with a scale for each token."""
    unfreeze_layers: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    """Top layers of the encoder that are trained with the head; `all` takes its embeddings too."""
    head: HeadSettings = Field(default=AttentionHeadSettings(kind="attention"))
    """What turns states into logits."""
    ngrams: NGramSettings = NGramSettings()
    """The bag-of-n-grams model that stands beside."""
    stack: bool = False
    """Answer by both models together, weighed on validation data."""
    training: TextTrainingSettings = TextTrainingSettings()
    """The fit."""
    expected: Expected | None = None
    """What to expect."""

    _old_names = model_validator(mode="before")(_with_new_names)

    @model_validator(mode="after")
    def _unfrozen_layers_see_whole_windows(self) -> Self:
        if self.unfreeze_layers != 0 and self.encoder.truncation.kind == "windows":
            raise ValueError(
                "unfreeze_layers does not go with truncation 'windows': attention would run "
                "across their joints"
            )
        if self.unfreeze_layers != 0 and self.encoder.layers != "last":
            raise ValueError("unfreeze_layers trains up to the last layer: set encoder.layers last")
        return self


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
    expected: Expected | None = None
    """What to expect."""

    _old_names = model_validator(mode="before")(_with_new_names)

    @model_validator(mode="after")
    def _validation_where_it_decides(self) -> Self:
        decides = self.training.keep != "last" or self.training.early_stopping_epochs is not None
        if decides and self.data.validation_fraction == 0.0:
            raise ValueError(
                "keeping the best epoch or stopping early needs data.validation_fraction above 0"
            )
        return self


Recipe = VisionRecipe | TextRecipe
TASKS: dict[str, type[VisionRecipe] | type[TextRecipe]] = {
    "vision": VisionRecipe,
    "text": TextRecipe,
}
R = TypeVar("R", VisionRecipe, TextRecipe)
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


def load_recipe_of(
    kind: type[R], family: str, name: str | None = None, overrides: Iterable[str] = ()
) -> R:
    """The same as `load_recipe`, for callers that can use one kind alone.

    Raises:
        RecipeError: as there, or the recipe is of another kind.
    """
    recipe = load_recipe(family, name, overrides)
    if not isinstance(recipe, kind):
        raise RecipeError(
            f"{family}/{name or 'default'} is a {recipe.task} recipe",
            remedy=f"name one of another task than {recipe.task}",
        )
    return recipe


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
