"""From a run folder to a classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from qkv.devices import DeviceName, resolve_device
from qkv.errors import RunError
from qkv.predictions import Classifier
from qkv.runs import Run

Loader = Callable[[Run, dict[str, Any], torch.device], Classifier[Any, Any]]


def _vision() -> Loader:
    from qkv.vision.classifier import load_vision

    return load_vision


def _text() -> Loader:
    from qkv.text.classifier import load_text

    return load_text


LOADERS: dict[str, Callable[[], Loader]] = {"vision": _vision, "text": _text}


def load(run: str | Path | Run, *, device: DeviceName = "cpu") -> Classifier[Any, Any]:
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
    return LOADERS[task]()(run, config, resolve_device(device))
