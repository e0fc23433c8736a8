"""The head that reads the mean of the states."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from qkv.text.heads.head import Head, Intermediates
from qkv.text.heads.settings import MeanHeadSettings


class MeanHead(Head):
    """The mean over a text's tokens, then a linear map or a small network."""

    def __init__(self, settings: MeanHeadSettings, dim: int, num_classes: int) -> None:
        super().__init__(dim, num_classes, hidden_dim=settings.hidden_dim, dropout=settings.dropout)

    def pool(
        self,
        states: Float[Tensor, "texts tokens dim"],
        attention_mask: Bool[Tensor, "texts tokens"],
    ) -> tuple[Float[Tensor, "texts features"], Intermediates]:
        """The mean of each text's states."""
        count = attention_mask.sum(dim=1, keepdim=True)
        return self._without_padding(states, attention_mask).sum(dim=1) / count, {}
