"""Evaluating a text run: its answers, and each of its models by itself.

The document has the keys of `qkv.evaluation.metrics.evaluate_predictions`, and:

| key | value |
|---|---|
| `by_length` | accuracy against text length, see `qkv.evaluation.lengths` |
| `models` | `{"neural", "ngrams", "stacked": {"examples", "accuracy", "accuracy_interval_95", |
|  | "loss"}}`: on the run's own test split as run.json has them, on other texts those that the |
|  | run keeps: the n-grams if they are stacked |
| `verdict` | a sentence where the encoder did not beat the n-grams on the test split, else "" |
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qkv.errors import RunError
from qkv.evaluation.calibration import FloatArray
from qkv.evaluation.lengths import accuracy_by_length
from qkv.evaluation.metrics import evaluate_predictions, log_softmax
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.text.dataset import TextSplit
from qkv.text.table import TextTableSettings, load_labelled_texts
from qkv.training.data import fingerprint, load_dataset, test_split
from qkv.training.progress import Reporter
from qkv.training.text_recipe import TextRecipe

# Between two reports of progress; as many as are encoded together.
TEXTS_AT_ONCE = 512
SCORES = ("examples", "accuracy", "accuracy_interval_95", "loss")


def evaluate_texts(
    run: Run,
    classifier: TextClassifier,
    recipe: TextRecipe,
    data: Path | str | None,
    *,
    skip_bad: bool,
    columns: Mapping[str, str],
    reporter: Reporter,
) -> dict[str, Any]:
    """The document that this module describes.

    Args:
        run: a text run.
        classifier: that of the run.
        recipe: that of the run.
        data: a labelled table or folder of texts, or where the run's own data set is now; None:
            the run's own test split.
        skip_bad: leave out rows or files that cannot be used.
        columns: `text_column` and `label_column` of a table, where they are not the recipe's.
        reporter: receives progress.

    Raises:
        QKVError: something the user can mend.
    """
    if data is not None and _is_labelled(Path(data), recipe, classifier):
        settings = recipe.data.table_settings().model_dump()
        split, skipped = load_labelled_texts(
            data,
            classifier.class_names,
            TextTableSettings.parse({**settings, **columns}, where="columns"),
            skip_bad=skip_bad,
            progress=reporter.progress("data", "bytes"),
        )
        if skipped:
            reporter.note(
                f"left out, as they cannot be used: {len(skipped):,} of the rows or files"
            )
        own = False
    else:
        split, own = _own_test(run, recipe, data, skip_bad=skip_bad, reporter=reporter)
    answers = _answers(classifier, split, reporter)
    documents = {
        model: evaluate_predictions(values, split.labels, classifier.class_names)
        for model, values in answers.items()
    }
    answering = "stacked" if "stacked" in answers else "neural"
    lengths = classifier.reading.encoder.prepare(split.texts).rows
    models = {model: {key: scores[key] for key in SCORES} for model, scores in documents.items()}
    verdict = ""
    if own:
        record = run.record()
        models = {model: splits["test"] for model, splits in record["models"].items()}
        verdict = record["verdict"]
    return {
        **documents[answering],
        "by_length": accuracy_by_length(lengths, split.labels, answers[answering].argmax(axis=1)),
        "models": models,
        "verdict": verdict,
    }


def _own_test(
    run: Run, recipe: TextRecipe, data: Path | str | None, *, skip_bad: bool, reporter: Reporter
) -> tuple[TextSplit, bool]:
    """The run's own test split, and whether it is still what the run was tested on."""
    known = run.record()["data"]
    dataset = load_dataset(
        recipe,
        data if data is not None else known["folder"],
        skip_bad=skip_bad or bool(known["skipped"]),
        reporter=reporter,
    )
    same = fingerprint(dataset) == known["sha256"]
    if not same:
        reporter.note("the data have changed since the run was trained on them")
    split = test_split(dataset)
    if not isinstance(split, TextSplit):
        raise disagreement(run)
    return split, same


def disagreement(run: Run) -> RunError:
    """What is wrong with a run whose files speak of different tasks."""
    return RunError(f"{run.path}: config and recipe disagree", remedy="restore the folder")


def _is_labelled(data: Path, recipe: TextRecipe, classifier: TextClassifier) -> bool:
    """Whether a path holds texts under the classes of the model, or a known data set itself."""
    if recipe.data.dataset == "table" or data.is_file():
        return True
    return any((data / name).is_dir() for name in classifier.class_names)


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
