"""Made-up reviews: some in the form of IMDB, and a table of three classes."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from qkv.data.dataset import TextDataset, TextSplit

WORDS = ("the", "film", "was", "a", "good", "bad", "story", "i", "loved", "hated", "it", "not")


def small_imdb(texts: int = 40) -> TextDataset:
    """Seeded reviews of 3 to 60 words, half of them positive, the same for training and test."""
    generator = np.random.default_rng(0)
    reviews = tuple(
        " ".join(generator.choice(WORDS, generator.integers(3, 60))) for _ in range(texts)
    )
    split = TextSplit(reviews, np.arange(texts) % 2)
    return TextDataset("imdb", ("neg", "pos"), split, None, split, "made up", {})


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
