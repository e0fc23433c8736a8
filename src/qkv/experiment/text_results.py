"""What the models of a text run are worth, and what its figures show."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qkv.classifiers.text import NGRAM_TENSORS
from qkv.data.dataset import IntArray, TextDataset, TextSplit
from qkv.evaluation.lengths import accuracy_by_length
from qkv.evaluation.metrics import evaluate_predictions, wilson_interval
from qkv.experiment.text_models import (
    LogProbabilities,
    evaluated_splits,
    fit_text_models,
)
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.training.progress import Reporter
from qkv.training.text_recipe import TextRecipe

MISTAKES = 16
# Of a mistake's text the beginning and the end are kept.
FIRST_LETTERS, LAST_LETTERS = 1500, 500


def finish_text(
    run: Run,
    recipe: TextRecipe,
    dataset: TextDataset,
    classifier: TextClassifier,
    reporter: Reporter,
) -> None:
    """Fit what stands beside the model, test each by itself, and save all of it."""
    fitted = fit_text_models(recipe, dataset, classifier, reporter)
    if fitted.stack is not None:
        run.save_tensors(NGRAM_TENSORS, fitted.ngrams.tensors())
    run.update_config(
        temperature=fitted.temperature,
        ngrams=recipe.ngrams.model_dump(mode="json"),
        stack=None if fitted.stack is None else fitted.stack.model_dump(mode="json"),
    )
    splits = evaluated_splits(dataset)
    models = {
        model: {name: _scores(values, splits[name].labels) for name, values in of_splits.items()}
        for model, of_splits in fitted.answers.items()
    }
    verdict = _verdict(models)
    if verdict:
        reporter.note(verdict)
    texts = {"train": dataset.train.texts, **{name: split.texts for name, split in splits.items()}}
    run.update_record(
        models=models,
        ngram_seconds=fitted.ngram_seconds,
        ngram_texts=fitted.ngrams.fitted_texts,
        encoder_parameters=classifier.reading.encoder.encoder.parameters,
        verdict=verdict,
        cut={name: vars(classifier.reading.cut(of_split)) for name, of_split in texts.items()},
    )
    if dataset.test is not None:
        _save_test(run, dataset.test, fitted.answers[fitted.answering]["test"], classifier)


def _scores(log_probabilities: LogProbabilities, labels: IntArray) -> dict[str, Any]:
    """Accuracy with its interval, and loss, of one model on one split."""
    correct = int((log_probabilities.argmax(axis=1) == labels).sum())
    return {
        "examples": len(labels),
        "accuracy": correct / len(labels),
        "accuracy_interval_95": list(wilson_interval(correct, len(labels))),
        "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
    }


def _verdict(models: dict[str, dict[str, Any]]) -> str:
    """One line when the encoder did not earn its place."""
    split = "test" if "test" in models["neural"] else "validation"
    if split not in models["neural"]:
        return ""
    neural, ngrams = models["neural"][split]["accuracy"], models["ngrams"][split]["accuracy"]
    if neural > ngrams:
        return ""
    return (
        f"the encoder does not beat a bag of n-grams on the {split} split: "
        f"{100 * neural:.2f} % against {100 * ngrams:.2f} %"
    )


def _save_test(
    run: Run, test: TextSplit, log_probabilities: LogProbabilities, classifier: TextClassifier
) -> None:
    document = evaluate_predictions(log_probabilities, test.labels, classifier.class_names)
    lengths = classifier.reading.lengths(test.texts)
    predicted = log_probabilities.argmax(axis=1)
    record = run.record()
    same = {key: record[key] for key in ("parameters", "train_seconds", "seed")}
    run.save_results(
        {
            "test_logits": torch.from_numpy(np.asarray(log_probabilities, dtype=np.float32)),
            "test_labels": torch.from_numpy(test.labels),
            "test_tokens": torch.from_numpy(lengths),
        }
    )
    run.update_record(
        test={
            **document,
            "by_length": accuracy_by_length(lengths, test.labels, predicted),
            **same,
        },
        mistakes=_mistakes(log_probabilities, test, classifier.class_names),
    )


def _mistakes(
    log_probabilities: LogProbabilities, test: TextSplit, class_names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The most confident ones, with the beginning of their text."""
    predicted = log_probabilities.argmax(axis=1)
    confidence = np.exp(log_probabilities.max(axis=1).astype(np.float64))
    wrong = np.flatnonzero(predicted != test.labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "text": _shortened(test.texts[i]),
            "name": test.names[i] if test.names else None,
            "label": class_names[test.labels[i]],
            "predicted": class_names[predicted[i]],
            "probability": float(confidence[i]),
        }
        for i in worst
    ]


def _shortened(text: str) -> str:
    # A lone surrogate has no place in a file of UTF-8.
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= FIRST_LETTERS + LAST_LETTERS:
        return text
    return f"{text[:FIRST_LETTERS]} … {text[-LAST_LETTERS:]}"
