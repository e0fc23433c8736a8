"""Windows of different lengths, put together so that blocks of one size are nearly full."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np

from qkv.data.dataset import IntArray


def fill_bins(lengths: IntArray, capacity: int) -> list[IntArray]:
    """Put indices into bins, the longest first, each where it leaves the least room (best fit).

    Args:
        lengths: int64 (windows,), tokens of each window.
        capacity: tokens that a bin holds.

    Returns:
        int64 indices of each bin. Every index is in one bin.

    Raises:
        ValueError: a window does not fit into a bin.
    """
    if len(lengths) and int(lengths.max()) > capacity:
        raise ValueError(f"a window of {int(lengths.max())} tokens does not fit into {capacity}")
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # what is left in each bin, and which it is; ascending
    for index in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[index])
        place = bisect_left(room, (length, 0))
        if place < len(room):
            left, number = room.pop(place)
        else:
            left, number = capacity, len(bins)
            bins.append([])
        bins[number].append(index)
        insort(room, (left - length, number))
    return [np.array(indices, dtype=np.int64) for indices in bins]
