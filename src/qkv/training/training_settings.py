"""What the recipes of all tasks have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from qkv.devices import DeviceName, Precision
from qkv.settings import Settings


class Expected(Settings):
    """What a recipe is expected to reach; a benchmark holds it to that."""

    test_accuracy: float = Field(ge=0.0, le=1.0)
    """Share of the test split that is classified correctly."""
    train_minutes: float = Field(gt=0.0)
    """Minutes of training."""
    machine: str
    """The machine on which this was seen."""


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


def _with_new_names(values: Any) -> Any:
    """`[promise]` of recipes and runs of version 0.1 is `[expected]` now."""
    if not isinstance(values, Mapping) or "promise" not in values or "expected" in values:
        return values
    return {("expected" if key == "promise" else key): value for key, value in values.items()}


class Recipe(Settings):
    """Everything that determines a run, but the data's bytes; a task derives its own."""

    task: str
    """The kind of model."""
    description: str = ""
    """What the recipe is for, in one sentence."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Governs splits, initial weights, order of examples, augmentation and dropout."""
    data: Any
    """Which examples."""
    training: TrainingSettings = TrainingSettings()
    """The fit."""
    expected: Expected | None = None
    """What to expect."""

    _old_names = model_validator(mode="before")(_with_new_names)


@dataclass(frozen=True)
class TrainableTask:
    """What training needs to know of a task.

    Attributes:
        recipe: the class of its recipes.
        load: recipe, path or None, `skip_bad` and reporter to the data set with its splits.
        build: recipe, data set, device and reporter to the task of the loop, with the initial
            weights of the seed, and its part of config.json.
        finish: run, recipe, data set, classifier and reporter; fits the temperature, tests, and
            saves both in the run.
    """

    recipe: type[Recipe]
    load: Callable[..., Any]
    build: Callable[..., tuple[Any, dict[str, Any]]]
    finish: Callable[..., None]
