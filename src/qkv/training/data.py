"""The data that a recipe asks for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from qkv.errors import DataError
from qkv.labelled import stratified_split
from qkv.training.progress import Progress
from qkv.training.recipe import Recipe
from qkv.vision import fashion_mnist
from qkv.vision.dataset import ImageDataset, ImageSplit
from qkv.vision.folder import load_image_folder


def load_dataset(
    recipe: Recipe,
    data: Path | str | None,
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> ImageDataset:
    """The data of a recipe, with the validation split that it asks for.

    Raises:
        DataError: the data are missing or unfit.
    """
    folder = None if data is None else Path(data)
    if recipe.data.dataset == "fashion-mnist":
        return _carve_validation(fashion_mnist.load(folder, progress=progress), recipe)
    if folder is None:
        raise DataError("no images were named", remedy="name a folder with --data FOLDER")
    return load_image_folder(
        folder,
        recipe.data.folder_settings(),
        seed=recipe.seed,
        skip_bad=skip_bad,
        progress=progress,
    )


def test_split(dataset: ImageDataset) -> ImageSplit:
    """The test split.

    Raises:
        DataError: there is none.
    """
    if dataset.test is None:
        raise DataError(f"{dataset.source} has no test images", remedy="name others with --data")
    return dataset.test


def describe(dataset: ImageDataset, folder: Path | str | None) -> dict[str, Any]:
    """The `data` entry of run.json."""
    splits = {
        "train": dataset.train,
        "validation": dataset.validation,
        "test": dataset.test,
    }
    return {
        "name": dataset.name,
        "folder": None if folder is None else str(Path(folder).resolve()),
        "source": dataset.source,
        "sha256": fingerprint(dataset),
        "examples": {name: 0 if split is None else len(split) for name, split in splits.items()},
        "class_names": list(dataset.class_names),
        "skipped": [vars(skipped) for skipped in dataset.skipped],
        "notes": list(dataset.notes),
    }


def fingerprint(dataset: ImageDataset) -> dict[str, str]:
    """The hashes of the stored images, and one of which of them is what in which split.

    Images alone do not tell when a file has moved to another class or a class has a new name.
    """
    digest = hashlib.sha256(json.dumps(dataset.class_names).encode())
    for split in (dataset.train, dataset.validation, dataset.test):
        if split is not None:
            digest.update(f"{len(split)}\n".encode())
            digest.update(split.rows.tobytes())
            digest.update(split.labels.tobytes())
    return {**dataset.sha256, "splits": digest.hexdigest()}


def _carve_validation(dataset: ImageDataset, recipe: Recipe) -> ImageDataset:
    fraction = recipe.data.validation_fraction
    if fraction == 0.0:
        return dataset
    kept, carved = stratified_split(dataset.train.labels, fraction, recipe.seed)
    return replace(
        dataset, train=dataset.train.subset(kept), validation=dataset.train.subset(carved)
    )
