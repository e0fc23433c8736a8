"""Which windows are computed together, and in how many rows.

In bfloat16 a product of matrices is rounded to eight bits, and the order of its sums, which shows
then, is chosen by the number of its rows. So that a state does not depend on its neighbours, that
number must not either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qkv.data.dataset import IntArray
from qkv.text.bins import fill_bins

# Measured: any row of a product is the same at any place among any others as long as their number
# is; 1024 rows are 8 to 10 % slower, 4096 not faster.
BLOCK_ROWS = 2048
# Where single texts are waited for, such a block would be computed mostly in vain. There short
# windows go into the smallest of these blocks.
WINDOW_ROWS = (64, 128)
# A longer window is computed by itself, in the next multiple of these rows: attention to 223 keys
# takes twice as long as attention to 224, of which one is masked.
ROWS_STEP = 16


@dataclass(frozen=True)
class Block:
    """Windows that are computed together.

    Attributes:
        windows: their numbers, int64.
        rows: what their tokens are filled up to; it follows from the length of any of them.
        masked: whether its one window is kept from the filling by a mask, rather than by a call of
            attention of its own length.
    """

    windows: IntArray
    rows: int
    masked: bool = False


def equal_blocks(lengths: IntArray, rows: int) -> Iterator[Block]:
    """Blocks of one size, as full as can be.

    Args:
        lengths: int64 (windows,), tokens of each; none exceeds `rows`.
        rows: of every block.
    """
    for windows in fill_bins(lengths, rows):
        yield Block(windows, rows)


def blocks_by_size(lengths: IntArray) -> Iterator[Block]:
    """The smallest blocks that fit: sooner for a few windows, slower for many.

    Args:
        lengths: int64 (windows,), tokens of each.
    """
    smaller = 0
    for rows in WINDOW_ROWS:
        fitting = np.flatnonzero((lengths > smaller) & (lengths <= rows))
        for windows in fill_bins(lengths[fitting], rows):
            yield Block(fitting[windows], rows)
        smaller = rows
    for window in np.flatnonzero(lengths > smaller):
        rows = -(-int(lengths[window]) // ROWS_STEP) * ROWS_STEP
        yield Block(np.array([window]), rows, masked=True)
