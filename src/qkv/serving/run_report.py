"""What a run says of itself, for a reader: its card, what it is, its curves, its test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qkv.runs import CARD, Run

# Points of a curve that a screen can show.
MAX_POINTS = 400

_OF_RECORD = (
    "status",
    "seed",
    "versions",
    "machine",
    "parameters",
    "encoder_parameters",
    "precision",
    "train_seconds",
    "ngram_seconds",
    "kept_epoch",
    "models",
    "verdict",
)
_OF_TEST = ("accuracy", "accuracy_interval_95", "loss", "examples", "per_class", "by_length")
# Where the data lie on this machine is nothing to tell who only sees the page.
_OF_DATA = ("name", "examples", "notes")
_OF_EPOCH = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
_OF_STEP = ("loss", "accuracy", "learning_rate")


def report_document(run: Run) -> dict[str, Any]:
    """The parts of a run folder that a reader looks at; every number in it is finite.

    Keys: `card_markdown`, `record` (chosen entries of run.json), `curves` (`epochs` and `steps`,
    each a list a quantity, beside one of steps), `confusion_matrix` (rows truth, columns
    prediction), `calibration`, `class_names`. What only a test gives is None without one.

    Raises:
        RunError: a file of the run is missing or damaged.
    """
    record = run.record()
    test = record.get("test") or {}
    recipe = record["recipe"]
    return {
        "card_markdown": _card(run),
        "record": {
            "task": recipe["task"],
            "description": recipe["description"],
            **_chosen(record, _OF_RECORD),
            "data": _chosen(record["data"], _OF_DATA),
            "skipped": len(record["data"]["skipped"]),
            "recipe": {part: recipe[part] for part in recipe if isinstance(recipe[part], dict)},
            "test": _chosen(test, _OF_TEST) or None,
            "temperature": run.config().get("temperature"),
        },
        "curves": {
            "epochs": _columns(record.get("epochs", ()), ("epoch", "step", *_OF_EPOCH)),
            "steps": _columns(
                _thinned([line for line in run.log() if line.get("event") == "step"]),
                ("step", *_OF_STEP),
            ),
        },
        "confusion_matrix": test.get("confusion_matrix"),
        "calibration": test.get("calibration"),
        "class_names": list(record["data"]["class_names"]),
    }


def _card(run: Run) -> str:
    """The model card without the front matter, which is for programs; empty if there is none."""
    path = run.path / CARD
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    if text.startswith("---\n"):
        _, _, rest = text[4:].partition("\n---\n")
        text = rest or text
    return text.strip()


def _chosen(entries: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: entries[name] for name in names if entries.get(name) is not None}


def _columns(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[Any]]:
    """The rows as one list a quantity; None where a row lacks it or it is not a finite number."""
    return {
        name: [_finite(row.get(name)) for row in rows]
        for name in names
        if any(row.get(name) is not None for row in rows)
    }


def _finite(value: object) -> object:
    # A run that diverged has such losses, and JSON has no way to write them.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _thinned(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most MAX_POINTS of the rows, evenly spread, with the first and the last."""
    if len(rows) <= MAX_POINTS:
        return list(rows)
    last = len(rows) - 1
    return [rows[round(place * last / (MAX_POINTS - 1))] for place in range(MAX_POINTS)]
