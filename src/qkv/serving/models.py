"""The runs that a server answers for, each by an id that is a name and never a path."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkv.devices import DeviceName
from qkv.errors import RunError
from qkv.loading import load
from qkv.predictions import Classifier
from qkv.runs import Run
from qkv.serving.predictors import PREDICTORS, Predictor

_NOT_IN_AN_ID = re.compile(r"[^a-z0-9._-]+")
_LONGEST_ID = 64


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A run with its classifier; `id`: lower-case letters, digits, dots, dashes, underscores."""

    id: str
    run: Run
    record: dict[str, Any]
    classifier: Classifier[Any, Any]
    predictor: Predictor

    @property
    def task(self) -> str:
        """What it reads: `vision` or `text`."""
        return self.classifier.task

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.run.path.resolve().name

    @property
    def class_names(self) -> tuple[str, ...]:
        """In label order."""
        return self.classifier.class_names

    @property
    def accuracy(self) -> float | None:
        """Share of test examples that it gets right; None if it was not tested."""
        accuracy = (self.record.get("test") or {}).get("accuracy")
        return None if accuracy is None else float(accuracy)

    def summary(self) -> dict[str, Any]:
        """The values of a `ModelSummary`."""
        return {
            "id": self.id,
            "task": self.task,
            "class_names": list(self.class_names),
            "name": self.name,
            "accuracy": self.accuracy,
        }


Models = Mapping[str, ServedModel]
"""Served models by id, in the order in which they were named."""


def open_models(paths: Sequence[Path], *, device: DeviceName = "cpu") -> Models:
    """Load finished runs, at least one.

    Raises:
        RunError: no run is named, or one is no finished run, or damaged.
        QKVError: a model cannot be had, such as the encoder of a text run.
    """
    if not paths:
        raise RunError("there is no run to serve", remedy="name one or more run folders")
    models: dict[str, ServedModel] = {}
    for path in paths:
        run = Run.open(path)
        record = run.record()
        if record.get("status") != "finished":
            raise RunError(
                f"{path} is not finished", remedy=f"finish it with qkv train --resume {path}"
            )
        classifier = load(run, device=device)
        name = _free_id(run.path.resolve().name, models)
        models[name] = ServedModel(
            name, run, record, classifier, PREDICTORS[classifier.task](classifier)
        )
    return models


def _free_id(name: str, taken: Mapping[str, object]) -> str:
    slug = _NOT_IN_AN_ID.sub("-", name.lower())[:_LONGEST_ID].strip(".-") or "model"
    free, number = slug, 1
    while free in taken:
        number += 1
        free = f"{slug}-{number}"
    return free
