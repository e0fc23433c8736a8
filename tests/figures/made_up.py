"""Small made-up results of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

FASHION = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]
LONG = [f"photographs of the bird of species number {i}" if i % 2 else f"$x_{i}" for i in range(40)]
HUNDRED = [f"class number {i}" for i in range(100)]
CLASSES = {"two": ["cat", "dog"], "ten": FASHION, "forty": LONG, "hundred": HUNDRED}
many_classes = pytest.mark.parametrize("names", CLASSES.values(), ids=CLASSES.keys())


def some_images(count: int, channels: int = 1, height: int = 7, width: int = 5) -> Any:
    shape = (count, channels, height, width)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def some_probabilities(count: int, classes: int) -> Any:
    return np.random.default_rng(2).dirichlet(np.full(classes, 0.3), count)


def some_logits(labels: Any, classes: int) -> Any:
    logits = np.random.default_rng(3).normal(size=(len(labels), classes)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 2
    return logits


def some_steps(epochs: int, per_epoch: int) -> list[dict[str, Any]]:
    steps = range(1, epochs * per_epoch + 1)
    return [
        {"event": "step", "step": step, "epoch": (step - 1) // per_epoch + 1, "loss": 3 / step}
        for step in steps
    ]


def some_epochs(count: int, **missing: None) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            **{f"{split}_loss": 1 / epoch for split in ("train", "validation", "test")},
            **{f"{split}_accuracy": 1 - 0.5 / epoch for split in ("train", "validation", "test")},
            **missing,
        }
        for epoch in range(1, count + 1)
    ]
