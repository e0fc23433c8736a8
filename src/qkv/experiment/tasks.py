"""A recipe and its data as a task of the training loop, and as the config of its run."""

from __future__ import annotations

from typing import Any

import torch

from qkv.data.dataset import ImageDataset, TextDataset
from qkv.errors import RecipeError
from qkv.training.data import Dataset
from qkv.training.progress import Reporter
from qkv.training.recipe import Recipe
from qkv.training.task import Task
from qkv.training.text_build import build_text_task, text_config
from qkv.training.text_recipe import TextRecipe
from qkv.training.vision_recipe import VisionRecipe
from qkv.training.vision_task import build_vision_task


def build_task(
    recipe: Recipe, dataset: Dataset, device: torch.device, reporter: Reporter
) -> tuple[Task, dict[str, Any]]:
    """The task, with the initial weights of its seed, and config.json.

    Raises:
        RecipeError: the model does not fit the data.
        QKVError: something else the user can mend.
    """
    common = {
        "format": 1,
        "task": recipe.task,
        "id2label": {str(number): name for number, name in enumerate(dataset.class_names)},
    }
    if isinstance(recipe, VisionRecipe) and isinstance(dataset, ImageDataset):
        task = build_vision_task(recipe, dataset, device)
        return task, {
            **common,
            "model": task.model.settings.model_dump(mode="json"),
            "preprocessing": task.preprocessing.model_dump(mode="json"),
        }
    if isinstance(recipe, TextRecipe) and isinstance(dataset, TextDataset):
        text_task, reading = build_text_task(recipe, dataset, device, reporter)
        return text_task, {**common, **text_config(recipe, reading)}
    raise RecipeError(
        f"a {recipe.task} recipe cannot read {dataset.name}", remedy="name data of its own kind"
    )
