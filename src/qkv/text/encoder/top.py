"""Trainable copies of an encoder: its uppermost layers, or all of it."""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn


class EncoderTop(nn.Module):
    """The uppermost layers, from the hidden states below them to the last.

    Args:
        layers: lowest first.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers

    def forward(
        self,
        hidden_states: Float[Tensor, "texts tokens dim"],
        attention_mask: Bool[Tensor, "texts tokens"],
    ) -> Float[Tensor, "texts tokens dim"]:
        """The last layer's states; those of padding mean nothing.

        Args:
            hidden_states: output of the layer below.
            attention_mask: True where a token is.
        """
        mask = attention_mask[:, None, None, :]
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask)
        return hidden_states


class WholeEncoder(nn.Module):
    """A whole encoder, from ids to the last layer's states.

    Args:
        model: of transformers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._pad_id = int(model.config.pad_token_id or 0)

    def forward(
        self,
        input_ids: Int64[Tensor, "texts tokens"],
        attention_mask: Bool[Tensor, "texts tokens"],
    ) -> Float[Tensor, "texts tokens dim"]:
        """The last layer's states; those of padding mean nothing.

        Args:
            input_ids: tokens, with special ones; padding may be any id.
            attention_mask: True where a token is: at the beginning of each row.
        """
        # Some models count positions by ids that are not the padding's.
        ids = input_ids.masked_fill(~attention_mask, self._pad_id)
        answer: Any = self.model(input_ids=ids, attention_mask=attention_mask)
        states: Tensor = answer.last_hidden_state
        return states
