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
from typing import Any

import numpy as np

from qkv.data.dataset import TextSplit
from qkv.evaluation.calibration import FloatArray
from qkv.evaluation.lengths import accuracy_by_length
from qkv.evaluation.metrics import evaluate_predictions, log_softmax
from qkv.text.classifier import TextClassifier
from qkv.training.progress import Reporter

# Between two reports of progress; as many as are encoded together.
TEXTS_AT_ONCE = 512
SCORES = ("examples", "accuracy", "accuracy_interval_95", "loss")


def evaluate_texts(
    classifier: TextClassifier,
    split: TextSplit,
    known: Mapping[str, Any] | None,
    reporter: Reporter,
) -> dict[str, Any]:
    """The document that this module describes.

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
