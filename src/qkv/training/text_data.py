"""The texts that a recipe asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qkv.data import imdb
from qkv.data.dataset import TextDataset, stratified_split
from qkv.data.text_table import load_text_table
from qkv.errors import DataError
from qkv.training.progress import Reporter
from qkv.training.text_recipe import TextRecipe


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
