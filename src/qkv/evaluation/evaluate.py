"""Evaluating a finished run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qkv.data.dataset import ImageSplit, TextSplit
from qkv.data.image_folder import load_labelled_images
from qkv.data.text_files import TextTableSettings
from qkv.data.text_table import load_labelled_texts
from qkv.errors import RunError
from qkv.evaluation.calibration import FloatArray
from qkv.evaluation.metrics import accuracy_by_length, evaluate_predictions, log_softmax
from qkv.loading import load
from qkv.predictions import Classifier
from qkv.progress import Reporter
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.training.data import fingerprint, load_dataset, test_split
from qkv.training.recipe import parse_recipe
from qkv.training.text_recipe import TextRecipe
from qkv.training.training_settings import Recipe
from qkv.training.vision_task import VisionRecipe
from qkv.vision.classifier import VisionClassifier

# Between two reports of progress; as many as are encoded together.
TEXTS_AT_ONCE = 512
SCORES = ("examples", "accuracy", "accuracy_interval_95", "loss")


def evaluate_images(
    classifier: VisionClassifier,
    split: ImageSplit,
    known: Mapping[str, Any] | None,  # noqa: ARG001
    reporter: Reporter,  # noqa: ARG001
) -> dict[str, Any]:
    """The document of `evaluate_predictions`; the last two arguments are those of texts."""
    logits = classifier.predict_logits(split).numpy()
    return evaluate_predictions(logits, split.labels, classifier.class_names)


def evaluate_texts(
    classifier: TextClassifier,
    split: TextSplit,
    known: Mapping[str, Any] | None,
    reporter: Reporter,
) -> dict[str, Any]:
    """The document of `evaluate_predictions`, and what each of a text run's models is worth.

    `by_length` is accuracy against text length. `models` has, for `neural`, `ngrams` and `stacked`,
    examples, accuracy with its interval, and loss: on the run's own test split as run.json has
    them, on other texts those that the run keeps. `verdict` is a sentence where the encoder did not
    beat the n-grams on the test split, else empty.

    Args:
        classifier: that of a text run.
        split: what it is evaluated on.
        known: run.json, if the split is just what the run was tested on; else None.
        reporter: receives progress.
    """
    answers = _answers(classifier, split, reporter)
    documents = {
        model: evaluate_predictions(values, split.labels, classifier.class_names)
        for model, values in answers.items()
    }
    answering = "stacked" if "stacked" in answers else "neural"
    lengths = classifier.reading.encoder.prepare(split.texts).rows
    models = {model: {key: scores[key] for key in SCORES} for model, scores in documents.items()}
    verdict = ""
    if known is not None:
        models = {model: splits["test"] for model, splits in known["models"].items()}
        verdict = known["verdict"]
    return {
        **documents[answering],
        "by_length": accuracy_by_length(lengths, split.labels, answers[answering].argmax(axis=1)),
        "models": models,
        "verdict": verdict,
    }


def _answers(
    classifier: TextClassifier, split: TextSplit, reporter: Reporter
) -> dict[str, FloatArray]:
    """Log probabilities (texts, classes) of each of the classifier's models."""
    progress = reporter.progress("evaluate", "texts")
    parts = []
    for start in range(0, len(split), TEXTS_AT_ONCE):
        texts = split.texts[start : start + TEXTS_AT_ONCE]
        parts.append(classifier.neural_logits(texts, from_store=True).numpy())
        progress(min(start + TEXTS_AT_ONCE, len(split)), len(split))
    neural = log_softmax(np.concatenate(parts) / classifier.temperature).astype(np.float32)
    answers: dict[str, FloatArray] = {"neural": neural}
    if classifier.stack is not None and classifier.ngrams is not None:
        answers["ngrams"] = classifier.ngrams.log_probabilities(split.texts)
        answers["stacked"] = classifier.stack.log_probabilities(neural, answers["ngrams"])
    return answers


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
    classifier: Classifier[Any, Any],
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
    if recipe.task != classifier.task:
        raise RunError(f"{run.path}: config and recipe disagree", remedy="restore the folder")
    evaluation = EVALUATIONS[recipe.task]
    if data is not None and evaluation.is_labelled(Path(data), recipe, classifier):
        split = evaluation.read(classifier, recipe, data, skip_bad, columns, reporter)
        return Examples(split, str(data), False)
    return _own_test(known, recipe, data, skip_bad, reporter)


def _images(
    classifier: VisionClassifier,
    recipe: VisionRecipe,  # noqa: ARG001
    data: Path | str,
    skip_bad: bool,
    columns: Mapping[str, str],  # noqa: ARG001
    reporter: Reporter,
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
    settings = {**recipe.data.model_dump(exclude={"dataset"}), **columns}
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


@dataclass(frozen=True)
class TaskEvaluation:
    """How classifiers of a task are evaluated.

    Attributes:
        is_labelled: whether a path holds examples under the classes of the model.
        read: those examples, as a split.
        evaluate: the evaluation document of a split.
    """

    is_labelled: Callable[[Path, Any, Any], bool]
    read: Callable[..., Any]
    evaluate: Callable[..., dict[str, Any]]


EVALUATIONS: dict[str, TaskEvaluation] = {
    "vision": TaskEvaluation(
        lambda _, recipe, __: recipe.data.dataset == "folder", _images, evaluate_images
    ),
    "text": TaskEvaluation(_is_labelled, _texts, evaluate_texts),
}


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

    That of a text run has more keys: see `evaluate_texts`.

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
    reporter = reporter or Reporter()
    run = Run.open(path)
    classifier = load(run, device="auto")
    given = {"text_column": text_column, "label_column": label_column}
    columns = {key: name for key, name in given.items() if name is not None}
    examples = labelled_examples(
        run, classifier, data, skip_bad=skip_bad, columns=columns, reporter=reporter
    )
    known = run.record() if examples.tested else None
    return EVALUATIONS[classifier.task].evaluate(classifier, examples.split, known, reporter)
