"""The head that pools states by learned queries."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from qkv.text.heads.head import Head, Intermediates
from qkv.text.heads.settings import AttentionHeadSettings


class AttentionHead(Head):
    """Weights w = softmax(x·q) over a text's tokens for each learned query q; Σ w·x side by side.

    Each state is normalised and passes a small network first, so a query can look for a word in its
    place rather than for a direction of the encoder's. With one query and no network this is the
    pooling of Yang et al. 2016, "Hierarchical attention networks for document classification".
    """

    def __init__(self, settings: AttentionHeadSettings, dim: int, num_classes: int) -> None:
        width = settings.token_mlp_dim or dim
        super().__init__(
            width * (settings.num_queries + settings.max_pool),
            num_classes,
            hidden_dim=settings.hidden_dim,
            dropout=settings.dropout,
        )
        self.norm = nn.LayerNorm(dim)
        self.token_mlp = nn.Linear(dim, width) if settings.token_mlp_dim else None
        self.query = nn.Linear(width, settings.num_queries)
        self.max_pool = settings.max_pool
        self.token_dropout = settings.token_dropout

    def pool(
        self,
        states: Float[Tensor, "texts tokens dim"],
        attention_mask: Bool[Tensor, "texts tokens"],
    ) -> tuple[Float[Tensor, "texts features"], Intermediates]:
        """The pooled values, and `pool_weights` (texts, queries, tokens)."""
        x = self.norm(states)
        if self.token_mlp is not None:
            x = F.gelu(self.token_mlp(x))
        seen = self._seen(attention_mask)
        scores = self.query(x).float().transpose(1, 2)
        weights = scores.masked_fill(~seen[:, None], -torch.inf).softmax(dim=-1)
        pooled = torch.matmul(weights.to(x.dtype), x).flatten(1)
        if self.max_pool:
            largest = x.masked_fill(~seen[..., None], torch.finfo(x.dtype).min).amax(dim=1)
            pooled = torch.cat([pooled, largest], dim=1)
        return pooled, {"pool_weights": weights}

    def _seen(self, attention_mask: Tensor) -> Tensor:
        if not self.training or self.token_dropout == 0.0:
            return attention_mask
        kept = torch.rand(attention_mask.shape, device=attention_mask.device) >= self.token_dropout
        kept[:, 0] = True
        return attention_mask & kept
