"""The few test examples that a run folder holds by itself, wherever its data set is now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qkv.data.dataset import UInt8Array
from qkv.runs import Run
from qkv.serving.gallery.predictions import SavedPredictions

# An image as uint8 (channels, height, width), or a text.
Content = UInt8Array | str


def kept_examples(run: Run, predictions: SavedPredictions) -> dict[int, Content]:
    """The kept images or texts by their index in the test split.

    Raises:
        RunError: the run is damaged.
    """
    tensors = run.results()
    images: dict[int, Content] = {}
    for kind in ("sample", "mistake"):
        if f"{kind}_images" in tensors:
            places = tensors[f"{kind}_indices"].tolist()
            images.update(zip(places, tensors[f"{kind}_images"].numpy(), strict=True))
    return images or _kept_texts(run.record().get("mistakes", ()), predictions)


def _kept_texts(
    mistakes: tuple[Mapping[str, Any], ...], predictions: SavedPredictions
) -> dict[int, Content]:
    """The recorded mistakes are the surest ones in their order, and do not say their index."""
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    surest = predictions.ordered(wrong)[: len(mistakes)].tolist()
    texts: dict[int, Content] = {}
    for index, mistake in zip(surest, mistakes, strict=False):
        names = predictions.class_names
        found = names[predictions.labels[index]], names[predictions.predicted[index]]
        if found == (mistake["label"], mistake["predicted"]):
            texts[index] = mistake["text"]
    return texts
