"""A text recipe and its data as a task: states first, then a model upon them."""

from __future__ import annotations

from typing import Any

import torch

from qkv.data.dataset import IntArray, TextDataset, TextSplit
from qkv.text.heads import build_head
from qkv.text.inputs import Inputs
from qkv.text.model import TextModel
from qkv.text.reading import Reading
from qkv.training.progress import Reporter
from qkv.training.randomness import seed_initial_weights
from qkv.training.text_recipe import TextRecipe
from qkv.training.text_task import TextTask


def build_text_task(
    recipe: TextRecipe, dataset: TextDataset, device: torch.device, reporter: Reporter
) -> tuple[TextTask, Reading]:
    """The task of a recipe on its data, with the initial weights of its seed.

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
    splits: dict[str, TextSplit] = {
        name: split
        for name, split in (
            ("train", dataset.train),
            ("validation", dataset.validation),
            ("test", dataset.test),
        )
        if split is not None
    }
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
    labels: dict[str, IntArray] = {name: split.labels for name, split in splits.items()}
    seed_initial_weights(recipe.seed)
    classes = len(dataset.class_names)
    head = build_head(recipe.head, reading.encoder.dim, classes)
    model = TextModel(head, reading.top())
    return TextTask(model, inputs, labels, classes, recipe.training, device), reading


def text_config(recipe: TextRecipe, reading: Reading) -> dict[str, Any]:
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
