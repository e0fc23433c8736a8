"""From a run folder to a classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from qkv.classifiers.text import load_text
from qkv.classifiers.vision import load_vision
from qkv.devices import DeviceName, resolve_device
from qkv.errors import RunError
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.vision.classifier import VisionClassifier

__all__ = ["Classifier", "load"]

Classifier = VisionClassifier | TextClassifier
LOADERS: dict[str, Callable[[Run, dict[str, Any], torch.device], Classifier]] = {
    "vision": load_vision,
    "text": load_text,
}


def load(run: str | Path | Run, *, device: DeviceName = "cpu") -> Classifier:
    """The classifier of a run, with its kept weights.

    Raises:
        RunError: the folder is not a run, has no weights yet, or is damaged.
        DeviceError: the device is not there.
    """
    if not isinstance(run, Run):
        run = Run.open(run)
    config = run.config()
    task = config.get("task")
    if task not in LOADERS:
        raise RunError(
            f"{run.path / 'config.json'}: task is {task!r}",
            remedy="load it with a version of qkv that knows this task",
        )
    return LOADERS[task](run, config, resolve_device(device))
