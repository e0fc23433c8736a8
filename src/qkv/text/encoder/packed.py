"""Attention of several texts that stand end to end, without padding.

A state must not depend on a text's neighbours. Under a mask it does, by a little: the kernels of
matrix products and of attention sum in another order when a batch is longer, and in bfloat16 that
shows (measured: 0.06 in a state of MiniLM). Here every text is attended to by a call of its own
shape, and only what treats each token alone sees the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ATTENTION = "qkv_packed"


def register_packed_attention() -> None:
    """Make the function known to transformers under a name of its own."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    text_lengths: list[int] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Softmax attention as transformers calls it.

    Args:
        module: the layer, unused.
        query: (texts, heads, tokens, head_dim); with `text_lengths`, all tokens in one row.
        key: like `query`.
        value: like `query`.
        attention_mask: bool, broadcast to (texts, heads, tokens, tokens), True where attended.
        text_lengths: tokens of each text; no text attends to another.
        scaling: factor of the scores; None is 1/√head_dim.
        dropout: probability that a weight is dropped.
        unused: what other attention functions take.

    Returns:
        The mixed values (texts, tokens, heads, head_dim), and no weights.
    """
    if text_lengths is None:
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling
        )
    else:
        parts = zip(
            *(tensor.split(text_lengths, dim=2) for tensor in (query, key, value)), strict=True
        )
        mixed = torch.cat(
            [F.scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in parts], dim=2
        )
    return mixed.transpose(1, 2), None
