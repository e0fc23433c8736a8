"""Evaluating a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qkv.classifiers import load
from qkv.data.dataset import ImageSplit, TextSplit
from qkv.errors import RunError
from qkv.evaluation.evaluate_texts import evaluate_texts
from qkv.evaluation.examples import labelled_examples
from qkv.evaluation.metrics import evaluate_predictions
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.training.progress import Reporter, Silent
from qkv.vision.classifier import VisionClassifier


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
    given = {"text_column": text_column, "label_column": label_column}
    columns = {key: name for key, name in given.items() if name is not None}
    examples = labelled_examples(
        run, classifier, data, skip_bad=skip_bad, columns=columns, reporter=reporter
    )
    split = examples.split
    if isinstance(split, TextSplit) and isinstance(classifier, TextClassifier):
        known = run.record() if examples.tested else None
        return evaluate_texts(classifier, split, known, reporter)
    if isinstance(split, ImageSplit) and isinstance(classifier, VisionClassifier):
        logits = classifier.predict_logits(split).numpy()
        return evaluate_predictions(logits, split.labels, classifier.class_names)
    raise RunError(f"{run.path}: config and recipe disagree", remedy="restore the folder")
