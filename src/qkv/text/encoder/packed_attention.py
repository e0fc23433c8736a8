"""Attention of several texts that stand end to end, without padding.

A state must not depend on a text's neighbours. Under a mask it does, by a little: matrix products
and attention sum in another order when a batch has another shape, and in bfloat16 that shows
(measured: 0.06 in a state of MiniLM). Here every text is attended to by a call of its own shape,
and the matrix products, which treat each token alone, see blocks of one size (`blocks.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

ATTENTION = "qkv_packed"


@dataclass
class AskedWeights:
    """A request for the weights that a call of attention mixes its values by.

    Attributes:
        texts: weights of how many texts are wanted, from the first.
        head: of which head; None: of all.
        weights: what was handed out, float32 (heads, tokens, tokens) for each text: row i is how
            much token i takes from each token.
    """

    texts: int
    head: int | None = None
    weights: list[Tensor] = field(default_factory=list)

    def hand_out(
        self,
        query: Float[Tensor, "heads tokens head_dim"],
        key: Float[Tensor, "heads tokens head_dim"],
        scaling: float | None,
        attention_mask: Bool[Tensor, "*_ _ _"] | None = None,
    ) -> None:
        """Compute a text's weights in float32 from what attention was given."""
        if len(self.weights) == self.texts:
            return
        if self.head is not None:
            query, key = query[self.head, None], key[self.head, None]
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        scores = torch.matmul(query.float(), key.float().transpose(1, 2)) * scale
        if attention_mask is not None:
            scores = scores.masked_fill(~attention_mask, -torch.inf)
        self.weights.append(scores.softmax(dim=-1))


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
    asked: AskedWeights | None = None,
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
        asked: is given weights of these very queries and keys.
        scaling: factor of the scores; None is 1/√head_dim.
        dropout: probability that a weight is dropped.

    Returns:
        The mixed values (texts, tokens, heads, head_dim), and no weights: fused kernels have none.
    """
    if text_lengths is None:
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling
        )
        if asked is not None:
            masks = [None] * len(query) if attention_mask is None else attention_mask
            for q, k, mask in zip(query, key, masks, strict=True):
                asked.hand_out(q, k, scaling, mask)
    else:
        split = (torch.split(x, text_lengths, dim=2) for x in (query, key, value))
        parts = list(zip(*split, strict=True))
        mixed = torch.cat(
            [F.scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in parts], dim=2
        )
        if asked is not None:
            for q, k, _ in parts:
                asked.hand_out(q[0], k[0], scaling)
    return mixed.transpose(1, 2), None
