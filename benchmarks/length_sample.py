"""A few batches that stand for an epoch of texts of all lengths."""

from __future__ import annotations

import numpy as np

from qkv.data.dataset import IntArray


def batches_at_quantiles(lengths: IntArray, batch_size: int, count: int) -> list[IntArray]:
    """Batches of texts of similar length, in the middle of equal shares of an epoch.

    The texts are sorted by length and cut into batches; of `count` equal shares of these batches
    the middle one is taken.

    Args:
        lengths: int64 (texts,), tokens of each text.
        batch_size: texts a batch; a smaller last one is not drawn.
        count: batches to draw.

    Returns:
        int64 indices of each batch, shortest texts first.

    Raises:
        ValueError: there are fewer full batches than that.
    """
    full = len(lengths) // batch_size
    if full < count:
        raise ValueError(f"{len(lengths)} texts make {full} batches of {batch_size}, not {count}")
    order = np.argsort(lengths, kind="stable").astype(np.int64)
    places = [(2 * share + 1) * full // (2 * count) for share in range(count)]
    return [order[place * batch_size : (place + 1) * batch_size] for place in places]
