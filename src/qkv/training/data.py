"""The data that a recipe asks for, and what a run records of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from qkv.data import fashion_mnist, imdb
from qkv.data.dataset import ImageDataset, ImageSplit, TextDataset, TextSplit, stratified_split
from qkv.data.image_folder import load_image_folder
from qkv.data.text_table import load_text_table
from qkv.errors import DataError
from qkv.progress import Reporter, Silent
from qkv.training.recipe import Recipe, TextRecipe, VisionRecipe


def load_texts(
    recipe: TextRecipe, data: Path | None, *, skip_bad: bool, reporter: Reporter
) -> TextDataset:
    """The texts of a recipe, with a validation split.

    Raises:
        DataError: the data are missing or unfit.
    """
    if recipe.data.dataset == "imdb":
        dataset = imdb.load(data, progress=reporter.progress("data", "bytes"))
        fraction = recipe.data.validation_fraction
        kept, carved = stratified_split(dataset.train.labels, fraction, recipe.seed)
        return replace(
            dataset, train=dataset.train.subset(kept), validation=dataset.train.subset(carved)
        )
    if data is None:
        raise DataError("no texts were named", remedy="name a table or folder with --data PATH")
    return load_text_table(
        data,
        recipe.data.table_settings(),
        seed=recipe.seed,
        skip_bad=skip_bad,
        progress=reporter.progress("data", "bytes"),
    )


def load_images(
    recipe: VisionRecipe, data: Path | None, *, skip_bad: bool, reporter: Reporter
) -> ImageDataset:
    """The images of a recipe, with the validation split that it asks for.

    Raises:
        DataError: the data are missing or unfit.
    """
    if recipe.data.dataset == "fashion-mnist":
        progress = reporter.progress("data", "bytes")
        return _carve_validation(fashion_mnist.load(data, progress=progress), recipe)
    if data is None:
        raise DataError("no images were named", remedy="name a folder with --data FOLDER")
    return load_image_folder(
        data,
        recipe.data.folder_settings(),
        seed=recipe.seed,
        skip_bad=skip_bad,
        progress=reporter.progress("data", "files"),
    )


def _carve_validation(dataset: ImageDataset, recipe: VisionRecipe) -> ImageDataset:
    fraction = recipe.data.validation_fraction
    if fraction == 0.0:
        return dataset
    kept, carved = stratified_split(dataset.train.labels, fraction, recipe.seed)
    return replace(
        dataset, train=dataset.train.subset(kept), validation=dataset.train.subset(carved)
    )


Dataset = ImageDataset | TextDataset
_LOADERS: dict[str, Callable[..., Dataset]] = {"vision": load_images, "text": load_texts}


@overload
def load_dataset(
    recipe: VisionRecipe,
    data: Path | str | None,
    *,
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> ImageDataset: ...
@overload
def load_dataset(
    recipe: TextRecipe,
    data: Path | str | None,
    *,
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> TextDataset: ...
def load_dataset(
    recipe: Recipe,
    data: Path | str | None,
    *,
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> Dataset:
    """The data of a recipe, with the validation split that it asks for.

    Raises:
        DataError: the data are missing or unfit.
    """
    folder = None if data is None else Path(data)
    reporter = reporter or Silent()
    return _LOADERS[recipe.task](recipe, folder, skip_bad=skip_bad, reporter=reporter)


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
            name: 0 if split is None else len(split) for name, split in _splits(dataset).items()
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
    for split in _splits(dataset).values():
        if split is not None:
            digest.update(f"{len(split)}\n".encode())
            digest.update(split.identity())
            digest.update(split.labels.tobytes())
    return {**dataset.sha256, "splits": digest.hexdigest()}


def _splits(dataset: Dataset) -> dict[str, ImageSplit | TextSplit | None]:
    return {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
