"""Evaluating a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qkv.classifiers import load
from qkv.evaluation.evaluate_texts import disagreement, evaluate_texts
from qkv.evaluation.metrics import evaluate_predictions
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.training.data import load_dataset, test_split
from qkv.training.progress import Reporter, Silent
from qkv.training.recipe import parse_recipe
from qkv.training.text_recipe import TextRecipe
from qkv.training.vision_recipe import VisionRecipe
from qkv.vision.classifier import VisionClassifier
from qkv.vision.dataset import ImageSplit
from qkv.vision.folder import load_labelled_images


def evaluate(
    path: Path | str,
    *,
    data: Path | str | None = None,
    skip_bad: bool = False,
    text_column: str | None = None,
    label_column: str | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """The evaluation document of a run on its own test split, or on labelled data of the user's.

    That of a text run has more keys: see `qkv.evaluation.evaluate_texts`.

    Args:
        path: the run folder.
        data: labelled images or texts, or where the run's own data set is now.
        skip_bad: leave out files or rows that cannot be used.
        text_column: the column of texts of a table in `data`; as in the recipe if None.
        label_column: likewise that of labels.
        reporter: receives progress.

    Raises:
        QKVError: something the user can mend.
    """
    reporter = reporter or Silent()
    run = Run.open(path)
    classifier = load(run, device="auto")
    record = run.record()
    recipe = parse_recipe(record["recipe"], where=str(run.path / "run.json"))
    own_data = recipe.data.dataset in ("folder", "table")
    if own_data and data is not None and str(Path(data).resolve()) == record["data"]["folder"]:
        reporter.note(
            f"{data} is what the run was trained on; without --data its own test split is taken"
        )
    if isinstance(recipe, TextRecipe) and isinstance(classifier, TextClassifier):
        given = {"text_column": text_column, "label_column": label_column}
        columns = {key: name for key, name in given.items() if name is not None}
        return evaluate_texts(
            run, classifier, recipe, data, skip_bad=skip_bad, columns=columns, reporter=reporter
        )
    if isinstance(recipe, VisionRecipe) and isinstance(classifier, VisionClassifier):
        test = _images(run, classifier, recipe, data, skip_bad=skip_bad, reporter=reporter)
        logits = classifier.predict_logits(test).numpy()
        return evaluate_predictions(logits, test.labels, classifier.class_names)
    raise disagreement(run)


def _images(
    run: Run,
    classifier: VisionClassifier,
    recipe: VisionRecipe,
    data: Path | str | None,
    *,
    skip_bad: bool,
    reporter: Reporter,
) -> ImageSplit:
    if data is not None and recipe.data.dataset == "folder":
        test, _ = load_labelled_images(
            data,
            classifier.class_names,
            image_size=classifier.preprocessing.image_size,
            channels=classifier.preprocessing.channels,
            skip_bad=skip_bad,
            progress=reporter.progress("data", "files"),
        )
        return test
    known = run.record()["data"]
    dataset = load_dataset(
        recipe,
        data if data is not None else known["folder"],
        skip_bad=skip_bad or bool(known["skipped"]),
        reporter=reporter,
    )
    split = test_split(dataset)
    if not isinstance(split, ImageSplit):
        raise disagreement(run)
    return split
