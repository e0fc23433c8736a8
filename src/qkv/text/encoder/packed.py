"""Attention of several texts that stand end to end, without padding.

A state must not depend on a text's neighbours. Under a mask it does, by a little: matrix products
and attention sum in another order when a batch has another shape, and in bfloat16 that shows
(measured: 0.06 in a state of MiniLM). Here every text is attended to by a call of its own shape,
and the matrix products, which treat each token alone, see blocks of one size (`stack.py`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ATTENTION = "qkv_packed"


def register_packed_attention() -> None:
    """Make the function known to transformers under a name of its own."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, packed_attention)
    # Without a mask function of the same name, padding would be attended to.
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def packed_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    text_lengths: list[int] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_others: Any,
) -> tuple[Tensor, None]:
    """Softmax attention as transformers calls it.

    Args:
        query: (texts, heads, tokens, head_dim); with `text_lengths`, all tokens in one row.
        key: like `query`.
        value: like `query`.
        attention_mask: bool, broadcast to (texts, heads, tokens, tokens), True where attended.
        text_lengths: tokens of each text; no text attends to another.
        scaling: factor of the scores; None is 1/√head_dim.
        dropout: probability that a weight is dropped.

    Returns:
        The mixed values (texts, tokens, heads, head_dim), and no weights.
    """
    if text_lengths is None:
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling
        )
    else:
        parts = zip(
            query.split(text_lengths, 2),  # type: ignore[no-untyped-call]
            key.split(text_lengths, 2),  # type: ignore[no-untyped-call]
            value.split(text_lengths, 2),  # type: ignore[no-untyped-call]
            strict=True,
        )
        mixed = torch.cat(
            [F.scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in parts], dim=2
        )
    return mixed.transpose(1, 2), None
