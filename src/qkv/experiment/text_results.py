"""What a trained text model is worth, beside a bag of n-grams on the same split."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qkv.classifiers.text import NGRAM_TENSORS
from qkv.evaluation.lengths import accuracy_by_length
from qkv.evaluation.metrics import evaluate_predictions, wilson_interval
from qkv.labelled import IntArray
from qkv.runs import Run
from qkv.temperature import fit_temperature
from qkv.text.classifier import TextClassifier
from qkv.text.dataset import TextDataset, TextSplit
from qkv.text.ngrams import NGramModel
from qkv.text.stack import fit_stack
from qkv.training.progress import Reporter
from qkv.training.text_recipe import TextRecipe

MISTAKES = 16
MISTAKE_LETTERS = 2000
FloatArray = npt.NDArray[np.float32]


def finish_text(
    run: Run,
    recipe: TextRecipe,
    dataset: TextDataset,
    classifier: TextClassifier,
    reporter: Reporter,
) -> None:
    """Fit temperature, n-grams and stack, test each model by itself, and save all of it."""
    labels = {name: split.labels for name, split in _evaluated(dataset).items()}
    neural = {
        name: classifier.neural_logits(split.texts, from_store=True).numpy()
        for name, split in _evaluated(dataset).items()
    }
    temperature = 1.0
    if recipe.training.calibrate and "validation" in neural:
        temperature = fit_temperature(neural["validation"], labels["validation"])
    answers = {"neural": {name: _log_softmax(x / temperature) for name, x in neural.items()}}

    reporter.note("fitting the bag of n-grams that stands beside the model")
    started = time.monotonic()
    classes = len(dataset.class_names)
    ngrams = NGramModel.fit(dataset.train.texts, dataset.train.labels, classes, recipe.ngrams)
    answers["ngrams"] = {
        name: ngrams.log_probabilities(split.texts) for name, split in _evaluated(dataset).items()
    }
    ngram_seconds = time.monotonic() - started

    stack = None
    if recipe.stack and "validation" in neural:
        both = (answers["neural"]["validation"], answers["ngrams"]["validation"])
        stack = fit_stack(*both, labels["validation"])
        answers["stacked"] = {
            name: stack.log_probabilities(answers["neural"][name], answers["ngrams"][name])
            for name in neural
        }
        run.save_tensors(NGRAM_TENSORS, ngrams.tensors())
    run.update_config(
        temperature=temperature,
        ngrams=recipe.ngrams.model_dump(mode="json"),
        stack=None if stack is None else stack.model_dump(mode="json"),
    )
    models = {
        model: {name: _scores(values, labels[name]) for name, values in of_splits.items()}
        for model, of_splits in answers.items()
    }
    note = _verdict(models)
    if note:
        reporter.note(note)
    run.update_record(
        models=models,
        ngram_seconds=ngram_seconds,
        encoder_parameters=classifier.reading.encoder.encoder.parameters,
        verdict=note,
    )
    if dataset.test is not None:
        final = answers["neural" if stack is None else "stacked"]["test"]
        _save_test(run, dataset.test, final, classifier)


def _evaluated(dataset: TextDataset) -> dict[str, TextSplit]:
    splits = {"validation": dataset.validation, "test": dataset.test}
    return {name: split for name, split in splits.items() if split is not None}


def _scores(log_probabilities: FloatArray, labels: IntArray) -> dict[str, Any]:
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
    run: Run, test: TextSplit, log_probabilities: FloatArray, classifier: TextClassifier
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
    log_probabilities: FloatArray, test: TextSplit, class_names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The most confident ones, with the beginning of their text."""
    predicted = log_probabilities.argmax(axis=1)
    confidence = np.exp(log_probabilities.max(axis=1).astype(np.float64))
    wrong = np.flatnonzero(predicted != test.labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "text": test.texts[i][:MISTAKE_LETTERS].encode("utf-8", "replace").decode(),
            "name": test.names[i] if test.names else None,
            "label": class_names[test.labels[i]],
            "predicted": class_names[predicted[i]],
            "probability": float(confidence[i]),
        }
        for i in worst
    ]


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(
        shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float32
    )
