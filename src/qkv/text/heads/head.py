"""What all heads share: pooled features of a text in, logits out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from qkv.dropout import Dropout
from qkv.errors import ShapeError

Intermediates = dict[str, Tensor]


class Head(nn.Module, ABC):
    """A map from a text's states to its logits.

    Two classes have one output z and the logits (0, z): their cross-entropy is the binary
    cross-entropy of z. More classes have an output each.

    Args:
        features: width of what `pool` gives.
        num_classes: classes to tell apart, at least 2.
        hidden_dim: width of a layer before the output; 0: none.
        dropout: share of entries set to zero before each linear map.
    """

    def __init__(
        self, features: int, num_classes: int, *, hidden_dim: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        outputs = 1 if num_classes == 2 else num_classes
        self.dropout = Dropout(dropout)
        self.hidden = nn.Linear(features, hidden_dim) if hidden_dim else None
        self.output = nn.Linear(hidden_dim or features, outputs)

    @abstractmethod
    def pool(
        self,
        states: Float[Tensor, "texts tokens dim"],
        attention_mask: Bool[Tensor, "texts tokens"],
    ) -> tuple[Float[Tensor, "texts features"], Intermediates]:
        """One vector a text, and what was computed on the way; padding changes neither."""

    def forward(
        self,
        states: Float[Tensor, "texts tokens dim"],
        attention_mask: Bool[Tensor, "texts tokens"],
    ) -> Float[Tensor, "texts classes"]:
        """Logits.

        Args:
            states: of the tokens of each text; whatever stands in the padding is not read.
            attention_mask: True where a token is.

        Raises:
            ShapeError: shapes or dtypes do not fit, or a text has no token.
        """
        return self.forward_with_intermediates(states, attention_mask)[0]

    def forward_with_intermediates(
        self,
        states: Float[Tensor, "texts tokens dim"],
        attention_mask: Bool[Tensor, "texts tokens"],
    ) -> tuple[Float[Tensor, "texts classes"], Intermediates]:
        """Logits, and what the head computed on the way, by name.

        Raises:
            ShapeError: shapes or dtypes do not fit, or a text has no token.
        """
        _check(states, attention_mask)
        pooled, named = self.pool(states, attention_mask)
        features = self.dropout(pooled)
        if self.hidden is not None:
            features = self.dropout(F.gelu(self.hidden(features)))
        logits: Tensor = self.output(features)
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return logits, named

    def _without_padding(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """The states, in the dtype of the weights, with zeros in the padding."""
        # Times zero would not do: what stands in the padding may be infinite.
        return states.to(self.output.weight.dtype).masked_fill(~attention_mask[..., None], 0.0)


def _check(states: Tensor, attention_mask: Tensor) -> None:
    if states.ndim != 3 or not states.is_floating_point():
        raise ShapeError(
            f"states have shape {tuple(states.shape)} and dtype {states.dtype}",
            remedy="pass floats (texts, tokens, dim)",
        )
    if attention_mask.shape != states.shape[:2] or attention_mask.dtype != torch.bool:
        raise ShapeError(
            f"attention_mask has shape {tuple(attention_mask.shape)} and dtype "
            f"{attention_mask.dtype} beside states {tuple(states.shape)}",
            remedy="pass booleans (texts, tokens), True where a token is",
        )
    if not len(states):
        raise ShapeError("there is no text to pool", remedy="pass at least one")
    empty = ~attention_mask.any(dim=1)
    if bool(empty.any()):
        raise ShapeError(
            f"text {int(empty.nonzero()[0])} of the batch has no token",
            remedy="mark at least one token of each text in attention_mask",
        )
