"""Linear attention in blocks that stay in the cache: what both of its forms share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qkv.attention.feature_maps import FeatureMap

# Features of one block: 1 MiB of float32, so that a pass over them reads a CPU's own cache. An
# accelerator wants few large kernels instead.
CPU_BLOCK_ELEMENTS = 2**18
BLOCK_ELEMENTS = 2**24

# Of state and sums, or of output and normaliser.
Pair = tuple[Tensor, Tensor]

# One tall product of a single row runs faster as so many side by side.
LANES = 4


class Inputs(NamedTuple):
    """What a form of linear attention computes from.

    Attributes:
        query: (rows, queries, head_dim).
        key: (rows, keys, head_dim).
        value: (rows, keys, value_dim).
        mask: (rows, keys), False where a key is hidden; None where none is.
        state: Σ_j φ(k_j) v_jᵀ to start from, (rows, features, value_dim); zeros when None.
        sums: Σ_j φ(k_j) to start from, (rows, features); given when `state` is.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    state: Tensor | None
    sums: Tensor | None


class Attended(NamedTuple):
    """What a form of linear attention computes, in the dtype of the sums.

    Attributes:
        output: (rows, queries, value_dim), zero where the normaliser is too small to divide by.
        normaliser: Σ_j φ(q_i)·φ(k_j), (rows, queries).
        state: Σ_j φ(k_j) v_jᵀ after the last key, (rows, features, value_dim).
        sums: Σ_j φ(k_j) after the last key, (rows, features).
        is_safe: every normaliser is positive and large enough to divide by.
    """

    output: Tensor
    normaliser: Tensor
    state: Tensor
    sums: Tensor
    is_safe: bool


class Blocks:
    """Cuts tensors of shape (rows, tokens, …) into blocks, and computes features of a block.

    Args:
        feature_map: φ.
        query: (rows, tokens, head_dim).
        tokens: of the longest tensor that will be cut.
        multiple: blocks have a multiple of this many tokens, and the last one what remains.
    """

    def __init__(
        self, feature_map: FeatureMap, query: Tensor, tokens: int, multiple: int = 1
    ) -> None:
        self.feature_map = feature_map
        self.num_features = feature_map.num_features(query.shape[-1])
        self.dtype = sum_dtype(query)
        elements = CPU_BLOCK_ELEMENTS if query.device.type == "cpu" else BLOCK_ELEMENTS
        length = elements // self.num_features
        self._rows = max(1, length // max(1, tokens))
        # Whether a row is more than one block; then a group is one row.
        self.is_long = tokens > length
        self._tokens = max(1, length // multiple) * multiple
        self._multiple = multiple
        self._device = query.device
        self._memory: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def is_one(self, rows: int) -> bool:
        """Whether so many rows fit into one block."""
        return rows <= self._rows and not self.is_long

    def rows(self, *tensors: Tensor | None) -> Iterable[tuple[Any, ...]]:
        """The tensors in groups of rows: of several only where all their tokens fit a block."""
        rows = next(tensor.shape[0] for tensor in tensors if tensor is not None)
        if rows <= self._rows:
            return (tensors,)
        return _pieces(tensors, [*_lengths(rows, self._rows)], dim=0)

    def spans(self, *tensors: Tensor | None, dim: int = 1) -> list[tuple[Any, ...]]:
        """The tensors, of as many tokens each, in consecutive blocks along their token axis."""
        tokens = next(tensor.shape[dim] for tensor in tensors if tensor is not None)
        odd = tokens % self._multiple
        if tokens <= self._tokens and odd in (0, tokens):
            return [tensors]
        lengths = [*_lengths(tokens - odd, self._tokens), *([odd] if odd else [])]
        return list(_pieces(tensors, lengths, dim))

    def load(self, tensor: Tensor) -> Tensor:
        """A block in the dtype of the sums."""
        return tensor if tensor.dtype == self.dtype else tensor.to(self.dtype)

    def features(self, x: Tensor, mask: Tensor | None = None, name: str = "features") -> Tensor:
        """φ of a block `x`, zero where `mask` (rows, tokens) is False.

        The result lies in memory of that `name`, which the next call overwrites.
        """
        out = self.scratch(name, *x.shape[:-1], self.num_features)
        self.feature_map.write(self.load(x), out)
        if mask is not None:
            out.masked_fill_(~mask[..., None], 0.0)
        return out

    def backward(self, x: Tensor, features: Tensor, gradient: Tensor, out: Tensor) -> None:
        """Write the gradient for `x` to `out`, whatever dtype that has; see `FeatureMap`."""
        if out.dtype == self.dtype:
            self.feature_map.backward(x, features, gradient, out)
        else:
            exact = self.scratch("exact", *x.shape)
            self.feature_map.backward(self.load(x), features, gradient, exact)
            out.copy_(exact)

    def scratch(self, name: str, *shape: int) -> Tensor:
        """Memory of that name and shape, not cleared, the same at the next call."""
        memory = self._memory.get((name, shape))
        if memory is None:
            memory = torch.empty(shape, dtype=self.dtype, device=self._device)
            self._memory[name, shape] = memory
        return memory


def least_sum(dtype: torch.dtype) -> float:
    """The least sum to divide by, 2.5e-31 in float32: its gradient divides by it once more."""
    return float(torch.finfo(dtype).tiny ** 0.8)


def sum_dtype(tensor: Tensor) -> torch.dtype:
    """In which softmax, features and sums are computed: float32, for float64 itself."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def add_outer(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add Σ_t left_t right_tᵀ of a block, (rows, tokens, ·) each, to `total` (rows, ·, ·)."""
    rows, tokens, _ = left.shape
    if rows > 1 or tokens % LANES:
        total.baddbmm_(left.transpose(1, 2), right)
    else:
        lanes = left.view(LANES, -1, left.shape[-1]), right.view(LANES, -1, right.shape[-1])
        total.add_(torch.bmm(lanes[0].transpose(1, 2), lanes[1]).sum(dim=0))


def add_sum(total: Tensor, weights: Tensor, block: Tensor) -> None:
    """Add Σ_t weights_t block_t of a block (rows, tokens, features) to `total` (rows, features)."""
    if block.shape[0] == 1:
        total[0].addmv_(block[0].t(), weights[0])
    else:
        total.add_(torch.bmm(weights[:, None], block)[:, 0])


def is_safe(normaliser: Tensor, output: Tensor) -> bool:
    """Whether all sums can be divided by; where one is too small, the output becomes zero."""
    if normaliser.numel() == 0:
        return True
    least = least_sum(normaliser.dtype)
    low, high = torch.aminmax(normaliser)
    if float(low) >= least and float(high) < math.inf:
        return True
    # NaN passes here, as it does through softmax attention.
    output.masked_fill_((normaliser.abs() < least)[..., None], 0.0)
    return False


def quotient_gradient(
    blocks: Blocks, to_output: Tensor, output: Tensor, normaliser: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients for N and n of y = N/n: dN = dy/n and dn = −(dy·y)/n."""
    too_small = normaliser.abs() < least_sum(normaliser.dtype)
    inverse = normaliser.reciprocal().masked_fill_(too_small, 0.0)
    to_numerator = blocks.scratch("to_numerator", *output.shape)
    torch.mul(blocks.load(to_output), inverse[..., None], out=to_numerator)
    product = blocks.scratch("product", *output.shape)
    torch.mul(to_numerator, output, out=product)
    return to_numerator, product.sum(dim=-1).neg_()


def joined(parts: list[Tensor]) -> Tensor:
    """The rows of all groups."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _lengths(total: int, limit: int) -> Iterable[int]:
    return (min(limit, total - start) for start in range(0, total, limit))


def _pieces(
    tensors: tuple[Tensor | None, ...], lengths: list[int], dim: int
) -> Iterable[tuple[Any, ...]]:
    pieces = (
        repeat(None, len(lengths)) if tensor is None else torch.split(tensor, lengths, dim)
        for tensor in tensors
    )
    return zip(*pieces, strict=True)
