"""Kernels of a transformer block on a CPU: cheap dropout, and attention over short sequences.

On a CPU most of the time of `torch.nn.Dropout` goes into one Bernoulli draw per element. Here four
elements share one 64-bit draw, 16 bits each, so the drop probability is exact to 2⁻¹⁷.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from qkv.attention.blocks import sum_dtype
from qkv.autograd import without_second_derivative

LANES = 2**16


class Dropout(nn.Module):
    """Zero each element with probability `p` while training and scale the rest by 1/(1 − p).

    The draws follow torch's default generator, so `torch.manual_seed` governs them.

    Args:
        p: probability that an element is zeroed, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply dropout; the identity in evaluation mode or when `p` is 0."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p, training=True)
        masked: Tensor = _LaneDropout.apply(x, self.p)  # type: ignore[no-untyped-call]
        return masked

    def extra_repr(self) -> str:
        """The drop probability, shown when the module is printed."""
        return f"p={self.p}"


def keep_mask(shape: torch.Size, p: float) -> Tensor:
    """16-bit ones with probability 1 − p, zeros otherwise, on the CPU.

    Each element owns 16 random bits r and is kept when r, read as a signed integer, stays below
    a threshold. The comparison writes over the draws: one vectorised pass, no boolean mask.
    """
    # Kept are the `keep` lowest of the 2¹⁶ equally likely values; at least one is always kept.
    keep = max(1, round((1.0 - p) * LANES))
    if keep == LANES:
        return torch.ones(shape, dtype=torch.int16)
    count = math.prod(shape)
    seed = int(torch.randint(2**62, ()).item())
    generator = np.random.Generator(np.random.SFC64(seed))
    words = generator.integers(0, 2**64, dtype=np.uint64, size=(count + 3) // 4)
    lanes = torch.from_numpy(words.view(np.int16))[:count]
    return lanes.lt_(keep - LANES // 2).view(shape)


class _LaneDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        mask = keep_mask(x.shape, p)
        ctx.save_for_backward(mask)
        ctx.scale = 1.0 / (1.0 - p)
        return (x * mask).mul_(ctx.scale)

    @staticmethod
    @without_second_derivative("dropout on a CPU")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return (gradient * mask).mul_(ctx.scale), None


# Multi-head self-attention over short sequences on a CPU, as one function with its gradient.
#
# For a few hundred tokens the scores of a head fit in the cache, and plain matrix products outrun
# a fused kernel that rescales as it goes. What then costs most is moving data. So every head stays
# in one contiguous block from its projection to its gradient, and wide heads are projected
# straight into their blocks. Products with narrow heads, or in bfloat16, are too slow for that:
# there one wide product and one copy are faster.


# From this head_dim on, products by head lose less than the copies between layouts cost.
WIDE_HEAD = 64


def short_multihead_attention(
    tokens: Float[Tensor, "batch tokens dim"],
    qkv_weight: Float[Tensor, "three_inner dim"],
    qkv_bias: Float[Tensor, " three_inner"] | None,
    output_weight: Float[Tensor, "dim inner"],
    output_bias: Float[Tensor, " dim"],
    num_heads: int,
) -> Float[Tensor, "batch tokens dim"]:
    """Project `tokens` to queries, keys and values, attend in every head, project back.

    The same function as a linear map by `qkv_weight`, softmax(Q Kᵀ/√head_dim) V in each head, and
    a linear map by `output_weight`. Rows of `qkv_weight` are ordered (query | key | value, head,
    head_dim). The softmax runs in float32 (float64 for float64). Differentiable once.
    """
    output: Tensor = _ShortMultiHead.apply(  # type: ignore[no-untyped-call]
        tokens, qkv_weight, qkv_bias, output_weight, output_bias, num_heads
    )
    return output


class _ShortMultiHead(torch.autograd.Function):
    # Shapes below: B = batch, T = tokens, D = dim, H = heads, d = head_dim, and P = 3H the
    # projections, ordered queries of all heads, keys of all heads, values of all heads.

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        qkv_weight: Tensor,
        qkv_bias: Tensor | None,
        output_weight: Tensor,
        output_bias: Tensor,
        num_heads: int,
    ) -> Tensor:
        batch, length, dim = tokens.shape
        rows = tokens.reshape(batch * length, dim)
        projected = _to_heads(rows, qkv_weight, qkv_bias, 3 * num_heads)
        query, key, value = _split(projected, length)
        scale = 1.0 / math.sqrt(query.shape[-1])
        scores = _scaled_bmm(query, key.transpose(1, 2), scale)
        weights = torch.softmax(scores, -1, dtype=sum_dtype(scores)).to(scores.dtype)
        attended = torch.bmm(weights, value).view(num_heads, batch * length, -1)
        output, joined = _from_heads(attended, output_weight, output_bias)
        ctx.has_bias = qkv_bias is not None
        ctx.save_for_backward(tokens, qkv_weight, output_weight, projected, weights, joined)
        return output.view(batch, length, dim)

    @staticmethod
    @without_second_derivative("short multi-head attention on a CPU")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tokens, qkv_weight, output_weight, projected, weights, joined = ctx.saved_tensors
        batch, length, dim = tokens.shape
        projections, _, head_dim = projected.shape
        rows = tokens.reshape(batch * length, dim)
        upstream = gradient.reshape(batch * length, dim)

        to_attended = _to_heads(upstream, output_weight.t(), None, projections // 3)
        to_attended = to_attended.view(-1, length, head_dim)
        to_output_weight = _weight_gradient(joined, upstream).t()

        query, key, value = _split(projected, length)
        to_projected = torch.empty_like(projected)
        to_query, to_key, to_value = _split(to_projected, length)
        torch.bmm(weights.transpose(1, 2), to_attended, out=to_value)
        to_weights = torch.bmm(to_attended, value.transpose(1, 2))
        dtype = sum_dtype(weights)
        to_scores = torch._softmax_backward_data(
            to_weights.to(dtype), weights.to(dtype), -1, dtype
        ).to(weights.dtype)
        scale = 1.0 / math.sqrt(head_dim)
        _scaled_bmm(to_scores, key, scale, out=to_query)
        _scaled_bmm(to_scores.transpose(1, 2), query, scale, out=to_key)

        to_rows, to_joined = _from_heads(to_projected, qkv_weight.t(), None)
        return (
            to_rows.view(batch, length, dim),
            _weight_gradient(to_joined, rows),
            to_joined.sum(dim=-2).view(-1) if ctx.has_bias else None,
            to_output_weight,
            upstream.sum(dim=0),
            None,
        )


def _to_heads(rows: Tensor, weight: Tensor, bias: Tensor | None, heads: int) -> Tensor:
    """A linear map of (B·T, D) by a weight (heads·d, D), as blocks (heads, B·T, d)."""
    by_head = weight.view(heads, -1, weight.shape[1]).transpose(1, 2)
    head_dim = by_head.shape[-1]
    if not _direct(rows, head_dim):
        packed = F.linear(rows, weight, bias)
        return packed.view(-1, heads, head_dim).transpose(0, 1).contiguous()
    repeated = rows.expand(heads, -1, -1)
    if bias is None:
        return torch.bmm(repeated, by_head)
    return torch.baddbmm(bias.view(heads, 1, head_dim), repeated, by_head)


def _from_heads(blocks: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """A linear map of joined heads by a weight (D, heads·d), and what it read.

    That is either `blocks` themselves, (heads, B·T, d), or their copy joined to (B·T, heads·d).
    """
    heads, _, head_dim = blocks.shape
    if not _direct(blocks, head_dim):
        joined = blocks.transpose(0, 1).flatten(1)
        return F.linear(joined, weight, bias), joined
    by_head = weight.view(-1, heads, head_dim).permute(1, 2, 0)
    first = blocks[0], by_head[0]
    output = torch.mm(*first) if bias is None else torch.addmm(bias, *first)
    for head in range(1, heads):
        output.addmm_(blocks[head], by_head[head])
    return output, blocks


def _weight_gradient(joined: Tensor, rows: Tensor) -> Tensor:
    """joinedᵀ @ rows, (heads·d, D), of what `_from_heads` read or the gradient of what it made."""
    # The narrow factor comes first because MKL is faster that way round.
    if joined.ndim == 2:
        return (rows.t() @ joined).t()
    product = torch.bmm(rows.t().expand(len(joined), -1, -1), joined)
    return product.transpose(1, 2).flatten(0, 1)


def _direct(tensor: Tensor, head_dim: int) -> bool:
    return head_dim >= WIDE_HEAD and tensor.dtype != torch.bfloat16


def _split(projected: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views of (P, B·T, d) as queries, keys and values of shape (H·B, T, d)."""
    query, key, value = projected.view(3, -1, length, projected.shape[-1]).unbind(0)
    return query, key, value


def _scaled_bmm(left: Tensor, right: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """The product times `scale`, the factor folded into the product: no pass over the result."""
    if out is None:
        out = left.new_empty(left.shape[0], left.shape[1], right.shape[2])
    # beta = 0 means that the old content of `out` is not read.
    return torch.baddbmm(out, left, right, beta=0, alpha=scale, out=out)
