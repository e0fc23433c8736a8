"""The data that a recipe asks for, and what a run records of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from qkv.data.dataset import SPLIT_NAMES, ImageDataset, ImageSplit, TextDataset, TextSplit
from qkv.errors import DataError
from qkv.progress import Reporter
from qkv.training.recipe import TASKS
from qkv.training.training_settings import Recipe

Dataset = ImageDataset | TextDataset


def load_dataset(
    recipe: Recipe,
    data: Path | str | None,
    *,
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> Any:
    """The `Dataset` of a recipe's task, with the validation split that it asks for.

    Raises:
        DataError: the data are missing or unfit.
    """
    folder = None if data is None else Path(data)
    load = TASKS[recipe.task]().load
    return load(recipe, folder, skip_bad=skip_bad, reporter=reporter or Reporter())


def test_split(dataset: Dataset) -> ImageSplit | TextSplit:
    """The test split.

    Raises:
        DataError: there is none.
    """
    if dataset.test is None:
        raise DataError(f"{dataset.source} has no test split", remedy="name others with --data")
    return dataset.test


def describe(dataset: Dataset, folder: Path | str | None) -> dict[str, Any]:
    """The `data` entry of run.json."""
    return {
        "name": dataset.name,
        "folder": None if folder is None else str(Path(folder).resolve()),
        "source": dataset.source,
        "sha256": fingerprint(dataset),
        "examples": {
            name: len(dataset.splits[name]) if name in dataset.splits else 0 for name in SPLIT_NAMES
        },
        "class_names": list(dataset.class_names),
        "skipped": [vars(skipped) for skipped in dataset.skipped],
        "notes": list(dataset.notes),
    }


def fingerprint(dataset: Dataset) -> dict[str, str]:
    """The hashes of the stored data, and one of which of them is what in which split.

    Files alone do not tell when one has moved to another class or a class has a new name.
    """
    digest = hashlib.sha256(json.dumps(dataset.class_names).encode())
    for split in dataset.splits.values():
        digest.update(f"{len(split)}\n".encode())
        digest.update(split.identity())
        digest.update(split.labels.tobytes())
    return {**dataset.sha256, "splits": digest.hexdigest()}
