"""From the folder of a vision run to its classifier."""

from __future__ import annotations

from typing import Any

import torch

from qkv.classifiers.configuration import class_names, load_weights, temperature
from qkv.errors import RunError
from qkv.runs import Run
from qkv.vision.classifier import VisionClassifier
from qkv.vision.preprocessing import Preprocessing
from qkv.vision.vit import ViT, ViTSettings


def load_vision(run: Run, config: dict[str, Any], device: torch.device) -> VisionClassifier:
    """The classifier of a vision run.

    Raises:
        RunError: the folder has no weights yet, or is damaged.
    """
    where = f"{run.path / 'config.json'}"
    names = class_names(config, where)
    try:
        settings = ViTSettings.parse(config["model"], where=where)
        preprocessing = Preprocessing.parse(config["preprocessing"], where=where)
    except (KeyError, TypeError) as error:
        raise RunError(f"{where} lacks {error}", remedy="restore the file") from None
    read, given = (
        (settings.channels, settings.image_size, settings.num_classes),
        (preprocessing.channels, preprocessing.image_size, len(names)),
    )
    if read != given:
        raise RunError(
            f"{where}: the model reads and tells apart {read} (channels, pixels, classes), "
            f"preprocessing and labels give {given}",
            remedy="restore the file",
        )
    model = ViT(settings)
    load_weights(run, model)
    return VisionClassifier(
        model, preprocessing, names, device, temperature=temperature(config, where)
    )
