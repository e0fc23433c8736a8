"""The examples that a run is evaluated on: its own test split, or labelled data of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkv.classifiers import Classifier
from qkv.data.dataset import ImageSplit, TextSplit
from qkv.data.image_folder import load_labelled_images
from qkv.data.text_table import TextTableSettings, load_labelled_texts
from qkv.errors import RunError
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.training.data import fingerprint, load_dataset, test_split
from qkv.training.progress import Reporter
from qkv.training.recipe import Recipe, parse_recipe
from qkv.training.text_recipe import TextRecipe
from qkv.training.vision_recipe import VisionRecipe
from qkv.vision.classifier import VisionClassifier


@dataclass(frozen=True)
class Examples:
    """Labelled examples.

    Attributes:
        split: images or texts under the classes of the model.
        source: where they are from, in words.
        tested: whether they are just what the run was tested on at its end.
    """

    split: ImageSplit | TextSplit
    source: str
    tested: bool


def labelled_examples(
    run: Run,
    classifier: Classifier,
    data: Path | str | None,
    *,
    skip_bad: bool,
    columns: Mapping[str, str],
    reporter: Reporter,
) -> Examples:
    """What to evaluate a run on.

    Args:
        run: a finished run.
        classifier: that of the run.
        data: labelled images or texts, or where the run's own data set is now; None: the run's own
            test split.
        skip_bad: leave out files or rows that cannot be used.
        columns: `text_column` and `label_column` of a table, where they are not the recipe's.
        reporter: receives progress.

    Raises:
        QKVError: something the user can mend.
    """
    known = run.record()["data"]
    recipe = parse_recipe(run.record()["recipe"], where=str(run.path / "run.json"))
    own_data = recipe.data.dataset in ("folder", "table")
    if own_data and data is not None and str(Path(data).resolve()) == known["folder"]:
        reporter.note(
            f"{data} is what the run was trained on; without --data its own test split is taken"
        )
    if isinstance(recipe, VisionRecipe) and isinstance(classifier, VisionClassifier):
        if data is not None and recipe.data.dataset == "folder":
            return Examples(_images(classifier, data, skip_bad, reporter), str(data), False)
    elif isinstance(recipe, TextRecipe) and isinstance(classifier, TextClassifier):
        if data is not None and _is_labelled(Path(data), recipe, classifier):
            texts = _texts(classifier, recipe, data, skip_bad, columns, reporter)
            return Examples(texts, str(data), False)
    else:
        raise RunError(f"{run.path}: config and recipe disagree", remedy="restore the folder")
    return _own_test(known, recipe, data, skip_bad, reporter)


def _images(
    classifier: VisionClassifier, data: Path | str, skip_bad: bool, reporter: Reporter
) -> ImageSplit:
    images, _ = load_labelled_images(
        data,
        classifier.class_names,
        image_size=classifier.preprocessing.image_size,
        channels=classifier.preprocessing.channels,
        skip_bad=skip_bad,
        progress=reporter.progress("data", "files"),
    )
    return images


def _texts(
    classifier: TextClassifier,
    recipe: TextRecipe,
    data: Path | str,
    skip_bad: bool,
    columns: Mapping[str, str],
    reporter: Reporter,
) -> TextSplit:
    settings = {**recipe.data.table_settings().model_dump(), **columns}
    texts, skipped = load_labelled_texts(
        data,
        classifier.class_names,
        TextTableSettings.parse(settings, where="columns"),
        skip_bad=skip_bad,
        progress=reporter.progress("data", "bytes"),
    )
    if skipped:
        reporter.note(f"left out, as they cannot be used: {len(skipped):,} of the rows or files")
    return texts


def _own_test(
    known: Mapping[str, Any],
    recipe: Recipe,
    data: Path | str | None,
    skip_bad: bool,
    reporter: Reporter,
) -> Examples:
    dataset = load_dataset(
        recipe,
        data if data is not None else known["folder"],
        skip_bad=skip_bad or bool(known["skipped"]),
        reporter=reporter,
    )
    same = fingerprint(dataset) == known["sha256"]
    if not same:
        reporter.note("the data have changed since the run was trained on them")
    return Examples(test_split(dataset), f"test split of {dataset.name}", same)


def _is_labelled(data: Path, recipe: TextRecipe, classifier: TextClassifier) -> bool:
    """Whether a path holds texts under the classes of the model, or a known data set itself."""
    if recipe.data.dataset == "table" or data.is_file():
        return True
    return any((data / name).is_dir() for name in classifier.class_names)
