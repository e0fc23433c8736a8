"""A table of short reviews in three classes, whose words give them away."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

CLASSES = {"bad": ("bad", "awful", "poor"), "fine": ("fine", "so so"), "good": ("good", "great")}
THINGS = ("the film", "this movie", "a story", "that book")


def review(label: str, generator: np.random.Generator) -> str:
    """A text of 6 to 40 words with a word of its class."""
    words = [str(generator.choice(THINGS)) for _ in range(generator.integers(2, 19))]
    words.append(f"was {generator.choice(CLASSES[label])}")
    return f"{' '.join(words)} {generator.integers(10**6)}"


def write_reviews(path: Path, *, count: int = 20, labels: Iterable[str] = CLASSES) -> Path:
    """Write `count` reviews of each label as CSV with the columns `review` and `verdict`."""
    generator = np.random.default_rng(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "verdict"])
        for label in labels:
            rows.writerows([review(label, generator), label] for _ in range(count))
    return path
