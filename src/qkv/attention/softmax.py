"""Softmax attention: torch's fused path, and the weights themselves."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from qkv.errors import ShapeError


def softmax_attention(
    query: Float[Tensor, "*batch queries head_dim"],
    key: Float[Tensor, "*batch keys head_dim"],
    value: Float[Tensor, "*batch keys value_dim"],
    *,
    attention_mask: Bool[Tensor, "*#batch #queries keys"] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "*batch queries value_dim"]:
    """softmax(scale · Q Kᵀ) V, computed without keeping the weights.

    Args:
        query: what each token asks.
        key: what each token offers.
        value: what each token gives.
        attention_mask: True where a query may attend; it broadcasts over the batch dimensions
            and the queries. A query that may attend nowhere gets zeros.
        is_causal: a query attends only to keys at its own or an earlier position.
        scale: factor on the scores; 1/√head_dim when None (Vaswani et al. 2017, eq. 1).

    Raises:
        ShapeError: shapes or dtypes do not fit, or `is_causal` with unequal lengths.
    """
    _check(query, key, value, is_causal)
    mask = _combined_mask(query, key, attention_mask, is_causal)
    output = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=is_causal and mask is None, scale=scale
    )
    if mask is None or attention_mask is None:
        return output
    # Kernels disagree on a row that may attend nowhere (zeros or NaN); qkv defines it as zeros.
    return output.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


def softmax_attention_weights(
    query: Float[Tensor, "*batch queries head_dim"],
    key: Float[Tensor, "*batch keys head_dim"],
    *,
    attention_mask: Bool[Tensor, "*#batch #queries keys"] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "*batch queries keys"]:
    """softmax(scale · Q Kᵀ), the weights themselves: each row sums to one.

    Arguments and errors are those of `softmax_attention`; a row that may attend nowhere is zero.
    """
    _check(query, key, None, is_causal)
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


def _combined_mask(
    query: Tensor, key: Tensor, attention_mask: Tensor | None, is_causal: bool
) -> Tensor | None:
    """One boolean mask for padding and causality; None when torch needs none."""
    if attention_mask is None:
        return None
    if attention_mask.dtype != torch.bool:
        raise ShapeError(
            f"attention_mask has dtype {attention_mask.dtype}",
            remedy="pass booleans, True where a query may attend",
        )
    weights_shape = (*query.shape[:-1], key.shape[-2])
    if not _broadcasts(attention_mask.shape, weights_shape):
        raise ShapeError(
            f"attention_mask has shape {tuple(attention_mask.shape)} for weights {weights_shape}",
            remedy="give it the shape of the weights, or 1 where it is the same for all",
        )
    if not is_causal:
        return attention_mask
    length = query.shape[-2]
    causal = torch.ones(length, key.shape[-2], dtype=torch.bool, device=query.device).tril()
    return attention_mask & causal


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(own in (1, wanted) for own, wanted in pairs)


def _check(query: Tensor, key: Tensor, value: Tensor | None, is_causal: bool) -> None:
    named = {"query": query, "key": key} | ({} if value is None else {"value": value})
    for name, tensor in named.items():
        if tensor.ndim < 2:
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)}",
                remedy="pass at least (tokens, head_dim)",
            )
        if tensor.shape[:-2] != query.shape[:-2]:
            raise ShapeError(
                f"{name} has batch shape {tuple(tensor.shape[:-2])} beside a query of "
                f"{tuple(query.shape[:-2])}",
                remedy="give all the same batch dimensions",
            )
        if tensor.dtype != query.dtype or not tensor.is_floating_point():
            raise ShapeError(
                f"{name} has dtype {tensor.dtype} beside a query of {query.dtype}",
                remedy="pass query, key and value in one floating-point dtype",
            )
    if query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            f"query has {query.shape[-1]} features a head and key {key.shape[-1]}",
            remedy="give both the same head_dim",
        )
    if value is not None and value.shape[-2] != key.shape[-2]:
        raise ShapeError(
            f"key has {key.shape[-2]} tokens and value {value.shape[-2]}",
            remedy="give both the same number of tokens",
        )
    if is_causal and query.shape[-2] != key.shape[-2]:
        raise ShapeError(
            f"causal attention of {query.shape[-2]} queries over {key.shape[-2]} keys",
            remedy="give as many queries as keys",
        )
