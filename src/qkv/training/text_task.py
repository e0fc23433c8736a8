"""Text classification as a task: its data, its model and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qkv.data import imdb
from qkv.data.dataset import IntArray, TextDataset
from qkv.data.text_table import load_text_table
from qkv.errors import DataError
from qkv.measurement.memory import BATCHES_BETWEEN, release_free_memory
from qkv.progress import Reporter
from qkv.text.heads import build_head
from qkv.text.model import Inputs, Reading, TextModel, predict_inputs
from qkv.text.text_encoder import token_budget_batches
from qkv.training.checkpoint import seed_initial_weights
from qkv.training.loop import Predictions, SplitName, StepOutcome
from qkv.training.text_recipe import TextRecipe, TextTrainingSettings
from qkv.training.text_results import evaluated_splits, finish_text
from qkv.training.training_settings import TrainableTask
from qkv.training.vision_task import classification_outcome, inverse_frequencies


def load_texts(
    recipe: TextRecipe, data: Path | None, *, skip_bad: bool, reporter: Reporter
) -> TextDataset:
    """The texts of a recipe, with a validation split.

    Raises:
        DataError: the data are missing or unfit.
    """
    if recipe.data.dataset == "imdb":
        dataset = imdb.load(data, progress=reporter.progress("data", "bytes"))
        return dataset.with_validation(recipe.data.validation_fraction, recipe.seed)
    if data is None:
        raise DataError("no texts were named", remedy="name a table or folder with --data PATH")
    return load_text_table(
        data,
        recipe.data,
        seed=recipe.seed,
        skip_bad=skip_bad,
        progress=reporter.progress("data", "bytes"),
    )


# Lengths are shuffled by this share before they are sorted, so that batches differ by epoch.
LENGTH_JITTER = 0.1


class TextTask:
    """A model, what it reads of each text, and the cross-entropy between its logits and labels.

    Args:
        model: on any device; it is moved.
        inputs: of the training split and of those that are evaluated while training.
        labels: int64 (texts,) of the same splits.
        classes: how many there are.
        settings: how to fit.
        device: where to compute.
    """

    unit = "texts"

    def __init__(
        self,
        model: TextModel,
        inputs: dict[str, Inputs],
        labels: dict[str, IntArray],
        classes: int,
        settings: TextTrainingSettings,
        device: torch.device,
    ) -> None:
        self.model = model.to(device)
        self._inputs = inputs
        self._labels = labels
        self.train_examples = len(labels["train"])
        self._settings = settings
        self._device = device
        self._steps = 0
        self._class_weights: Tensor | None = None
        if settings.class_weights == "auto":
            self._class_weights = inverse_frequencies(labels["train"], classes).to(device)

    def epoch_batches(self, order: IntArray) -> Sequence[IntArray]:
        """Batches of texts of similar length, in the order of the seed.

        The lengths are jittered by a function of `order`, so each epoch has its own batches.
        """
        lengths = self._inputs["train"].lengths[order]
        seed = order[: min(8, len(order))]
        generator = np.random.default_rng(seed)
        jittered = lengths * generator.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(order))
        by_length = order[np.argsort(jittered, kind="stable")]
        batches = self._cut(by_length)
        return [batches[place] for place in generator.permutation(len(batches))]

    def train_step(self, model: nn.Module, indices: IntArray) -> StepOutcome:
        """Cross-entropy of the texts at `indices`."""
        self._steps += 1
        if self._steps % BATCHES_BETWEEN == 0:
            release_free_memory()
        inputs, attention_mask = self._inputs["train"].padded(indices)
        labels = torch.from_numpy(self._labels["train"][indices]).to(self._device)
        logits = model(inputs.to(self._device), attention_mask.to(self._device)).float()
        return classification_outcome(logits, labels, self._class_weights, self._settings)

    def split_examples(self, split: SplitName) -> int:
        """How many texts a split has; 0 if it is not evaluated while training."""
        return len(self._labels[split]) if split in self._labels else 0

    def predict_split(self, model: nn.Module, split: SplitName) -> Predictions:
        """Logits in the order of the split."""
        logits = predict_inputs(
            model, self._inputs[split], self._settings.evaluation_batch_tokens, self._device
        )
        return Predictions(logits.numpy(), self._labels[split])

    def _cut(self, by_length: IntArray) -> list[IntArray]:
        """Neighbours of a list sorted by length, as batches."""
        if self._settings.batch_by == "texts":
            size = self._settings.batch_size
            return [by_length[start : start + size] for start in range(0, len(by_length), size)]
        batches = token_budget_batches(
            self._inputs["train"].lengths[by_length], self._settings.batch_tokens
        )
        return [by_length[places] for places in batches]


def build_text_task(
    recipe: TextRecipe, dataset: TextDataset, device: torch.device, reporter: Reporter
) -> tuple[TextTask, dict[str, Any]]:
    """The task of a recipe on its data, with the initial weights of its seed, and its config.

    The states of every text, those of the test split too, are computed here unless they are stored
    already.

    Raises:
        DataError: the disk lacks the room for the states.
        QKVError: the encoder cannot be had.
    """
    reading = Reading(
        recipe.encoder,
        recipe.unfreeze_layers,
        recipe.states,
        device,
        progress=reporter.progress("encoder", "bytes"),
    )
    splits = {"train": dataset.train, **evaluated_splits(dataset)}
    stored = reading.stored(
        [split.texts for split in splits.values()],
        progress=reporter.progress("encode", "tokens"),
        note=reporter.note,
    )
    cut = reading.cut([text for split in splits.values() for text in split.texts])
    if cut.texts:
        reporter.note(
            f"{cut.texts:,} texts are longer than the encoder is given: {cut.tokens:,} tokens are "
            f"left out (truncation {recipe.encoder.truncation.kind!r})"
        )
    inputs: dict[str, Inputs] = dict(zip(splits, stored, strict=True))
    labels = {name: split.labels for name, split in splits.items()}
    seed_initial_weights(recipe.seed)
    classes = len(dataset.class_names)
    head = build_head(recipe.head, reading.encoder.dim, classes)
    model = TextModel(head, reading.top())
    task = TextTask(model, inputs, labels, classes, recipe.training, device)
    return task, _config(recipe, reading)


def _config(recipe: TextRecipe, reading: Reading) -> dict[str, Any]:
    """The part of config.json that says how to build the model and what it reads."""
    return {
        "model": {
            "head": recipe.head.model_dump(mode="json"),
            "dim": reading.encoder.dim,
            "unfreeze_layers": recipe.unfreeze_layers,
        },
        "encoder": {
            "settings": recipe.encoder.model_dump(mode="json"),
            "identity": reading.encoder.identity,
            "parameters": reading.encoder.encoder.parameters,
        },
        "states": recipe.states,
    }


TEXT = TrainableTask(TextRecipe, load_texts, build_text_task, finish_text)
