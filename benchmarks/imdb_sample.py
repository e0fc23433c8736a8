"""Reviews of IMDB that a benchmark measures on: the same ones every time."""

from __future__ import annotations

import numpy as np

from qkv.data import imdb
from qkv.data.dataset import TextSplit

SEED = 0


def sampled_reviews(count: int) -> TextSplit:
    """The first `count` training reviews of a seeded permutation.

    Raises:
        DataError: IMDB is nowhere and cannot be fetched.
    """
    train = imdb.load().train
    return train.subset(np.random.default_rng(SEED).permutation(len(train))[:count])
