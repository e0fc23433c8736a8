"""Batches of similar length, as large as a budget of tokens allows."""

from __future__ import annotations

import numpy as np

from qkv.data.dataset import IntArray


def token_budget_batches(lengths: IntArray, batch_tokens: int) -> list[IntArray]:
    """Cut indices, sorted by length, into batches of bounded padded size.

    A batch is padded to its longest member, so its size is `members × longest`. Neighbours in
    length waste little of it. Equal lengths keep their order.

    Args:
        lengths: int64 (texts,), tokens of each text, none negative.
        batch_tokens: padded tokens that a batch may have. A text longer than that is alone in its
            batch.

    Returns:
        int64 indices of each batch, shortest texts first. Every index is in one batch.

    Raises:
        ValueError: the budget is not positive.
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens must be at least 1, not {batch_tokens}")
    order = np.argsort(lengths, kind="stable").astype(np.int64)
    by_length = lengths[order].tolist()
    batches = []
    first = 0
    for last, length in enumerate(by_length):
        # The newest member is the longest.
        if last > first and (last + 1 - first) * length > batch_tokens:
            batches.append(order[first:last])
            first = last
    if first < len(order):
        batches.append(order[first:])
    return batches
