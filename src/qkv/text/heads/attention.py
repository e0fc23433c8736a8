"""The head that pools states by learned queries."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from qkv.dropout import Dropout
from qkv.errors import ShapeError
from qkv.text.heads.head import Head, Intermediates
from qkv.text.heads.settings import AttentionHeadSettings


class AttentionHead(Head):
    """Weights w = softmax(x·q) over a text's tokens for each learned query q; Σ w·x side by side.

    Each state is normalised and passes a small network first, so a query can look for a word in its
    place rather than for a direction of the encoder's. With one query and no network this is the
    pooling of Yang et al. 2016, "Hierarchical attention networks for document classification".

    Several heads cut a token into equal parts, and each query has a vector for every part, as in
    Vaswani et al. 2017; scores are not divided by a root, since a learned query finds its scale.

    Raises:
        ShapeError: the heads do not divide the width of a token.
    """

    def __init__(self, settings: AttentionHeadSettings, dim: int, num_classes: int) -> None:
        width = settings.token_mlp_dim or dim
        values = settings.value_dim or width
        heads = settings.num_heads
        if width % heads or values % heads:
            raise ShapeError(
                f"{heads} heads do not divide tokens of width {width}",
                remedy="choose num_heads that do, or a token_mlp_dim",
            )
        super().__init__(
            values * (settings.num_queries + settings.max_pool),
            num_classes,
            hidden_dim=settings.hidden_dim,
            dropout=settings.dropout,
        )
        self.norm = nn.LayerNorm(dim) if settings.input_norm else None
        self.state_dropout = Dropout(settings.state_dropout)
        self.token_mlp = nn.Linear(dim, width) if settings.token_mlp_dim else None
        # Row (query, head) asks that head's part of a token.
        self.query = nn.Linear(width // heads, settings.num_queries * heads)
        self.value = nn.Linear(width, values) if settings.value_dim else None
        self.num_queries = settings.num_queries
        self.num_heads = heads
        self.max_pool = settings.max_pool
        self.token_dropout = settings.token_dropout

    def pool(
        self,
        states: Float[Tensor, "texts tokens dim"],
        attention_mask: Bool[Tensor, "texts tokens"],
    ) -> tuple[Float[Tensor, "texts features"], Intermediates]:
        """The pooled values, and `pool_weights` (texts, queries, tokens).

        With several heads the weights have the shape (texts, queries, heads, tokens).
        """
        x = self._without_padding(states, attention_mask)
        if self.norm is not None:
            x = self.norm(x)
        x = self.state_dropout(x)
        if self.token_mlp is not None:
            x = F.gelu(self.token_mlp(x))
        seen = self._seen(attention_mask)
        weights = self._weights(x, seen)
        value = x if self.value is None else self.value(x)
        pooled = self._pooled(weights, value)
        if self.max_pool:
            largest = value.masked_fill(~seen[..., None], -torch.inf).amax(dim=1)
            pooled = torch.cat([pooled, largest.to(pooled.dtype)], dim=1)
        return pooled, {"pool_weights": weights if self.num_heads > 1 else weights[:, :, 0]}

    def _weights(self, x: Tensor, seen: Tensor) -> Tensor:
        """float32 or wider, (texts, queries, heads, tokens)."""
        texts, tokens, _ = x.shape
        heads = self.num_heads
        if heads == 1:
            scores = self.query(x).transpose(1, 2).unsqueeze(2)
        else:
            parts = x.view(texts, tokens, heads, -1).transpose(1, 2)
            asked = self.query.weight.view(self.num_queries, heads, -1).permute(1, 2, 0)
            bias = self.query.bias.view(self.num_queries, heads, 1)
            scores = torch.matmul(parts, asked.to(x.dtype)).permute(0, 3, 1, 2) + bias
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        weights: Tensor = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(dim=-1)
        return weights

    def _pooled(self, weights: Tensor, value: Tensor) -> Tensor:
        """Σ w·value, (texts, queries · width): queries, then heads, then their parts."""
        texts, tokens, width = value.shape
        if self.num_heads == 1:
            return torch.matmul(weights[:, :, 0].to(value.dtype), value).flatten(1)
        parts = value.view(texts, tokens, self.num_heads, -1).transpose(1, 2)
        pooled = torch.matmul(weights.transpose(1, 2).to(value.dtype), parts)
        return pooled.transpose(1, 2).reshape(texts, self.num_queries * width)

    def _seen(self, attention_mask: Tensor) -> Tensor:
        if not self.training or self.token_dropout == 0.0:
            return attention_mask
        kept = torch.rand(attention_mask.shape, device=attention_mask.device) >= self.token_dropout
        first = attention_mask.cumsum(dim=1) == 1
        return attention_mask & (kept | first)
