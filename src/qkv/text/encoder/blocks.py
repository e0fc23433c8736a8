"""Which windows are computed together, and in how many rows.

In bfloat16 a product of matrices is rounded to eight bits, and the order of its sums, which shows
then, is chosen by the number of its rows. So that a state does not depend on its neighbours, that
number must not either.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from qkv.data.dataset import IntArray


def fill_bins(lengths: IntArray, capacity: int) -> list[IntArray]:
    """Put indices into bins, the longest first, each where it leaves the least room (best fit).

    Args:
        lengths: int64 (windows,), tokens of each window.
        capacity: tokens that a bin holds.

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
    """Blocks of `rows` tokens, as full as windows of these lengths (windows,) make them."""
    for windows in fill_bins(lengths, rows):
        yield Block(windows, rows)


def blocks_by_size(lengths: IntArray) -> Iterator[Block]:
    """The smallest blocks that fit windows of these lengths (windows,): sooner for a few."""
    smaller = 0
    for rows in WINDOW_ROWS:
        fitting = np.flatnonzero((lengths > smaller) & (lengths <= rows))
        for windows in fill_bins(lengths[fitting], rows):
            yield Block(fitting[windows], rows)
        smaller = rows
    for window in np.flatnonzero(lengths > smaller):
        rows = -(-int(lengths[window]) // ROWS_STEP) * ROWS_STEP
        yield Block(np.array([window]), rows, masked=True)


class PrepackedLinear(nn.Module):
    """A linear map for inference, whose weights lie as the CPU multiplies them.

    Before a product oneDNN copies the weights into the order in which its kernel reads them, every
    time anew: for a text of 200 tokens that takes a quarter of all products. Here it is done once.
    The output is the same to the last bit.

    Args:
        linear: with weights in bfloat16, on the CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        # No attribute of a module's own kind: this layout can be neither saved nor moved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """The product with the transposed weights, plus the bias."""
        op = torch.ops.mkldnn._linear_pointwise
        product: Tensor = op(x, self._weight, self._bias, "none", [], "")
        return product


def prepack_linears(module: nn.Module) -> None:
    """Replace every linear map within a module in bfloat16, where torch has the means."""
    if not _can_prepack():
        return
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear and child.weight.device.type == "cpu":
            setattr(module, name, PrepackedLinear(child))
        else:
            prepack_linears(child)


def _can_prepack() -> bool:
    # Torch's own compiler calls these, but they are not among its documented functions.
    needed = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    found = all(hasattr(torch.ops.mkldnn, name) for name in needed)
    return found and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def mean_of(states: Sequence[Tensor]) -> Tensor:
    """The mean of several layers' states, in float32; of one, itself."""
    if len(states) == 1:
        return states[0]
    return torch.stack([state.float() for state in states]).mean(dim=0)
