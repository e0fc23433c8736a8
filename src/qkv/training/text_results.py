"""What a trained text classifier is worth: temperature, n-grams, both together, and the test."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qkv.data.dataset import IntArray, TextDataset, TextSplit
from qkv.evaluation.calibration import fit_temperature
from qkv.evaluation.metrics import (
    accuracy_by_length,
    evaluate_predictions,
    log_softmax,
    wilson_interval,
)
from qkv.measurement.memory import release_free_memory
from qkv.progress import Reporter
from qkv.runs import Run
from qkv.text.classifier import NGRAM_TENSORS, TextClassifier
from qkv.text.ngrams import NGramModel
from qkv.text.stacking import Stack, fit_stack
from qkv.training.text_recipe import TextRecipe

LogProbabilities = npt.NDArray[np.floating[Any]]


@dataclass
class TextModels:
    """What was fitted, and what each model says of the splits that are evaluated.

    Attributes:
        temperature: what the neural logits are divided by.
        ngrams: fitted on the training split.
        ngram_seconds: time to fit it and to answer for the evaluated splits.
        stack: how both are weighed; None where the recipe asks for none.
        answers: log probabilities (texts, classes) by model and split.
    """

    temperature: float
    ngrams: NGramModel
    ngram_seconds: float
    stack: Stack | None = None
    answers: dict[str, dict[str, LogProbabilities]] = field(default_factory=dict)


def evaluated_splits(dataset: TextDataset) -> dict[str, TextSplit]:
    """Validation and test, as far as they are there."""
    splits = {"validation": dataset.validation, "test": dataset.test}
    return {name: split for name, split in splits.items() if split is not None}


def fit_text_models(
    recipe: TextRecipe, dataset: TextDataset, classifier: TextClassifier, reporter: Reporter
) -> TextModels:
    """Fit temperature, n-grams and stack; only the training and the validation split decide."""
    splits = evaluated_splits(dataset)
    logits = {
        name: classifier.neural_logits(split.texts, from_store=True).numpy()
        for name, split in splits.items()
    }
    temperature = 1.0
    if recipe.training.calibrate and dataset.validation is not None:
        temperature = fit_temperature(logits["validation"], dataset.validation.labels)
    release_free_memory()
    neural = {
        name: log_softmax(values / temperature).astype(np.float32)
        for name, values in logits.items()
    }

    started = time.monotonic()
    train, classes = dataset.train, len(dataset.class_names)
    progress = reporter.progress("n-grams", "texts")
    model = NGramModel.fit(train.texts, train.labels, classes, recipe.ngrams, progress=progress)
    ngrams: dict[str, LogProbabilities] = {
        name: model.log_probabilities(split.texts) for name, split in splits.items()
    }
    fitted = TextModels(temperature, model, time.monotonic() - started)
    fitted.answers = {"neural": neural, "ngrams": ngrams}
    if recipe.stack and dataset.validation is not None:
        fitted.stack = fit_stack(
            neural["validation"], ngrams["validation"], dataset.validation.labels
        )
        fitted.answers["stacked"] = {
            name: fitted.stack.log_probabilities(neural[name], ngrams[name]) for name in splits
        }
    return fitted


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
        answers = fitted.answers.get("stacked", fitted.answers["neural"])
        _save_test(run, dataset.test, answers["test"], classifier)


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
