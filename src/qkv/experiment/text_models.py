"""The models of a text run: the neural one, a bag of n-grams on the same split, and both."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qkv.measurement.release import release_free_memory
from qkv.temperature import fit_temperature
from qkv.text.classifier import TextClassifier
from qkv.text.dataset import TextDataset, TextSplit
from qkv.text.ngrams import NGramModel
from qkv.text.stacking import Stack, fit_stack
from qkv.training.progress import Reporter
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

    @property
    def answering(self) -> str:
        """The model that the run's classifier answers by."""
        return "neural" if self.stack is None else "stacked"


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
    neural = {name: _log_softmax(values / temperature) for name, values in logits.items()}

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


def _log_softmax(logits: LogProbabilities) -> LogProbabilities:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_shares: LogProbabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_shares
