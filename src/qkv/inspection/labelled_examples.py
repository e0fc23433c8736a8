"""The examples that explanations of a run are measured on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qkv.classifiers import Classifier
from qkv.evaluation.evaluate_texts import disagreement
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.text.dataset import TextSplit
from qkv.text.table import TextTableSettings, load_labelled_texts
from qkv.training.data import load_dataset, test_split
from qkv.training.progress import Reporter
from qkv.training.recipe import parse_recipe
from qkv.training.text_recipe import TextRecipe
from qkv.training.vision_recipe import VisionRecipe
from qkv.vision.classifier import VisionClassifier
from qkv.vision.dataset import ImageSplit
from qkv.vision.folder import load_labelled_images


def labelled_examples(
    run: Run,
    classifier: Classifier,
    data: Path | None,
    *,
    skip_bad: bool,
    columns: Mapping[str, str],
    reporter: Reporter,
) -> tuple[ImageSplit | TextSplit, str]:
    """The examples that `qkv.evaluation.evaluate` would take, and where they are from.

    Args:
        run: a finished run.
        classifier: that of the run.
        data: as for `evaluate`.
        skip_bad: leave out files or rows that cannot be used.
        columns: `text_column` and `label_column` of a table, where they are not the recipe's.
        reporter: receives progress.

    Raises:
        QKVError: something the user can mend.
    """
    known = run.record()
    recipe = parse_recipe(known["recipe"], where=str(run.path / "run.json"))
    names = classifier.class_names
    vision = isinstance(recipe, VisionRecipe) and isinstance(classifier, VisionClassifier)
    if not vision and not (
        isinstance(recipe, TextRecipe) and isinstance(classifier, TextClassifier)
    ):
        raise disagreement(run)
    if data is not None and isinstance(recipe, TextRecipe) and _has_labels(data, recipe, names):
        settings = {**recipe.data.table_settings().model_dump(), **columns}
        texts, _ = load_labelled_texts(
            data,
            names,
            TextTableSettings.parse(settings, where="columns"),
            skip_bad=skip_bad,
            progress=reporter.progress("data", "bytes"),
        )
        return texts, str(data)
    if data is not None and recipe.data.dataset == "folder":
        assert isinstance(classifier, VisionClassifier)
        images, _ = load_labelled_images(
            data,
            names,
            image_size=classifier.preprocessing.image_size,
            channels=classifier.preprocessing.channels,
            skip_bad=skip_bad,
            progress=reporter.progress("data", "files"),
        )
        return images, str(data)
    dataset = load_dataset(
        recipe,
        data if data is not None else known["data"]["folder"],
        skip_bad=skip_bad or bool(known["data"]["skipped"]),
        reporter=reporter,
    )
    return test_split(dataset), f"test split of {dataset.name}"


def _has_labels(data: Path, recipe: TextRecipe, names: tuple[str, ...]) -> bool:
    """Whether a path holds texts under the classes of the model, not a known data set itself."""
    if recipe.data.dataset == "table" or data.is_file():
        return True
    return any((data / name).is_dir() for name in names)
