"""The images that a recipe asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qkv.data import fashion_mnist
from qkv.data.dataset import ImageDataset, stratified_split
from qkv.data.image_folder import load_image_folder
from qkv.errors import DataError
from qkv.training.progress import Reporter
from qkv.training.vision_recipe import VisionRecipe


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
