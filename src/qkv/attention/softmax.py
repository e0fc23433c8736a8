"""Softmax attention: torch's fused path, and the weights themselves."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from qkv.attention.checks import check_heads, check_mask


def softmax_attention(
    query: Float[Tensor, "*#batch queries head_dim"],
    key: Float[Tensor, "*#batch keys head_dim"],
    value: Float[Tensor, "*#batch keys value_dim"],
    *,
    attention_mask: Bool[Tensor, "*#batch #queries keys"] | Bool[Tensor, " keys"] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "... queries value_dim"]:
    """softmax(scale · Q Kᵀ) V, computed without keeping the weights.

    Args:
        query: (*batch, queries, head_dim).
        key: (*batch, keys, head_dim).
        value: (*batch, keys, value_dim). Batch dimensions of the three broadcast.
        attention_mask: True where a query may attend; it broadcasts over the batch dimensions
            and the queries. A query that may attend nowhere gets zeros.
        is_causal: a query attends only to keys at its own or an earlier position.
        scale: factor on the scores; 1/√head_dim when None (Vaswani et al. 2017, eq. 1).

    Raises:
        ShapeError: shapes or dtypes do not fit, or `is_causal` with unequal lengths.
    """
    batch = check_heads(query, key, value, is_causal=is_causal)
    query, key, value = (
        tensor if tensor.shape[:-2] == batch else tensor.expand(*batch, -1, -1)
        for tensor in (query, key, value)
    )
    mask = _combined_mask(query, key, attention_mask, is_causal)
    output = F.scaled_dot_product_attention(
        _in_four_dimensions(query, batch),
        _in_four_dimensions(key, batch),
        _in_four_dimensions(value, batch),
        attn_mask=None if mask is None else _in_four_dimensions(mask, batch),
        is_causal=is_causal and mask is None,
        scale=scale,
    ).view(*batch, query.shape[-2], value.shape[-1])
    if mask is None:
        return output
    # Kernels disagree on a row that may attend nowhere (zeros or NaN); qkv defines it as zeros.
    return output.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


def softmax_attention_weights(
    query: Float[Tensor, "*#batch queries head_dim"],
    key: Float[Tensor, "*#batch keys head_dim"],
    *,
    attention_mask: Bool[Tensor, "*#batch #queries keys"] | Bool[Tensor, " keys"] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "... queries keys"]:
    """softmax(scale · Q Kᵀ), the weights themselves: each row sums to one.

    Arguments and errors are those of `softmax_attention`; a row that may attend nowhere is zero.
    """
    check_heads(query, key, None, is_causal=is_causal)
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query @ key.transpose(-2, -1)) * factor
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if is_causal and attention_mask is None:
        attention_mask = torch.ones(key.shape[-2], dtype=torch.bool, device=query.device)
    mask = _combined_mask(query, key, attention_mask, is_causal)
    if mask is None:
        return scores.softmax(dim=-1).to(query.dtype)
    allowed = mask.any(dim=-1, keepdim=True)
    # A row of −inf alone would give NaN in the softmax and in its gradient.
    scores = scores.masked_fill(~mask & allowed, -math.inf)
    return (scores.softmax(dim=-1) * allowed).to(query.dtype)


def _in_four_dimensions(tensor: Tensor, batch: tuple[int, ...]) -> Tensor:
    """What torch's fused kernels take: with other shapes they give way to the plain T×T form."""
    if len(batch) > 2:
        tensor = tensor.expand(*batch, -1, -1)
        return tensor.reshape(-1, *tensor.shape[len(batch) - 1 :])
    return tensor[(None,) * (4 - tensor.ndim)]


def _combined_mask(
    query: Tensor, key: Tensor, attention_mask: Tensor | None, is_causal: bool
) -> Tensor | None:
    """One boolean mask for padding and causality; None when torch needs none."""
    if attention_mask is None:
        return None
    batch = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        query.shape[:-2], key.shape[:-2]
    )
    check_mask(attention_mask, (*batch, query.shape[-2], key.shape[-2]))
    if attention_mask.ndim == 1:
        attention_mask = attention_mask[None]
    if not is_causal:
        return attention_mask
    length = query.shape[-2]
    causal = torch.ones(length, key.shape[-2], dtype=torch.bool, device=query.device).tril()
    return attention_mask & causal
