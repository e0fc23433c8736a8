"""A handful of made-up reviews in the form of IMDB."""

from __future__ import annotations

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
