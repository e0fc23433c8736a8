"""Multi-head self-attention over short sequences on a CPU, as one function with its gradient.

For a few hundred tokens the scores of a head fit in the cache, and plain matrix products outrun a
fused kernel that rescales as it goes. What then costs most is moving data: splitting heads, joining
them again, and the same backwards. Here the projections write every head into its own contiguous
block and read it from there, so no activation is ever copied to change its layout.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


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
    output: Tensor = _ShortMultiHead.apply(
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
        projections = 3 * num_heads
        head_dim = qkv_weight.shape[0] // projections
        rows = tokens.reshape(batch * length, dim)

        repeated = rows.expand(projections, -1, -1)
        by_projection = qkv_weight.view(projections, head_dim, dim)
        if qkv_bias is None:
            projected = torch.bmm(repeated, by_projection.transpose(1, 2))
        else:
            bias = qkv_bias.view(projections, 1, head_dim)
            projected = torch.baddbmm(bias, repeated, by_projection.transpose(1, 2))

        query, key, value = _heads(projected, length)
        scale = 1.0 / math.sqrt(head_dim)
        scores = _scaled_bmm(query, key.transpose(1, 2), scale)
        weights = torch.softmax(scores, -1, dtype=_softmax_dtype(scores)).to(scores.dtype)
        attended = torch.bmm(weights, value).view(num_heads, batch * length, head_dim)

        output_by_head = output_weight.view(dim, num_heads, head_dim)
        output = torch.addmm(output_bias, attended[0], output_by_head[:, 0].t())
        for head in range(1, num_heads):
            output.addmm_(attended[head], output_by_head[:, head].t())

        ctx.save_for_backward(
            tokens, qkv_weight, qkv_bias, output_weight, projected, weights, attended
        )
        return output.view(batch, length, dim)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tokens, qkv_weight, qkv_bias, output_weight, projected, weights, attended = (
            ctx.saved_tensors
        )
        batch, length, dim = tokens.shape
        num_heads, _, head_dim = attended.shape
        projections = 3 * num_heads
        rows = tokens.reshape(batch * length, dim)
        upstream = gradient.reshape(batch * length, dim)

        # Output projection.
        repeated = upstream.expand(num_heads, -1, -1)
        output_by_head = output_weight.view(dim, num_heads, head_dim)
        to_attended = torch.bmm(repeated, output_by_head.permute(1, 0, 2))
        to_output_weight = torch.bmm(repeated.transpose(1, 2), attended).transpose(0, 1)

        # Attention in every head.
        query, key, value = _heads(projected, length)
        to_projected = torch.empty_like(projected)
        to_query, to_key, to_value = _heads(to_projected, length)
        to_attended = to_attended.view(num_heads * batch, length, head_dim)
        torch.bmm(weights.transpose(1, 2), to_attended, out=to_value)
        to_weights = torch.bmm(to_attended, value.transpose(1, 2))
        dtype = _softmax_dtype(weights)
        to_scores = torch._softmax_backward_data(
            to_weights.to(dtype), weights.to(dtype), -1, dtype
        ).to(weights.dtype)
        scale = 1.0 / math.sqrt(head_dim)
        _scaled_bmm(to_scores, key, scale, out=to_query)
        _scaled_bmm(to_scores.transpose(1, 2), query, scale, out=to_key)

        # Projection to queries, keys and values.
        by_projection = qkv_weight.view(projections, head_dim, dim)
        to_rows = torch.mm(to_projected[0], by_projection[0])
        for index in range(1, projections):
            to_rows.addmm_(to_projected[index], by_projection[index])
        to_qkv_weight = torch.bmm(rows.t().expand(projections, -1, -1), to_projected)
        return (
            to_rows.view(batch, length, dim),
            to_qkv_weight.transpose(1, 2).reshape(qkv_weight.shape),
            None if qkv_bias is None else to_projected.sum(dim=1).view(-1),
            to_output_weight.reshape(output_weight.shape),
            upstream.sum(dim=0),
            None,
        )


def _heads(projected: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views of (P, B·T, d) as queries, keys and values of shape (H·B, T, d)."""
    query, key, value = projected.view(3, -1, length, projected.shape[-1]).unbind(0)
    return query, key, value


def _scaled_bmm(left: Tensor, right: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """scale · left @ right, the factor folded into the product: no pass over the result."""
    if out is None:
        out = left.new_empty(left.shape[0], left.shape[1], right.shape[2])
    # beta = 0 means that the old content of `out` is not read.
    return torch.baddbmm(out, left, right, beta=0, alpha=scale, out=out)


def _softmax_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
