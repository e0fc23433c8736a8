"""Trainable copies of an encoder: its uppermost layers, or all of it."""

from __future__ import annotations

from typing import Any

import torch
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


class StackedEncoder(nn.Module):
    """A whole encoder of layers that stand alone, from ids to the last layer's states.

    Args:
        embeddings: ids and positions to hidden states.
        projection: to the layers' width, where the embeddings have another.
        layers: lowest first.
        first_position: where positions are counted from.
    """

    def __init__(
        self,
        embeddings: nn.Module,
        projection: nn.Module | None,
        layers: nn.ModuleList,
        first_position: int,
    ) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.projection = projection
        self.top = EncoderTop(layers)
        self._first_position = first_position

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
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        states = self.embeddings(
            input_ids=input_ids,
            position_ids=(positions + self._first_position).expand_as(input_ids),
        )
        if self.projection is not None:
            states = self.projection(states)
        top: Tensor = self.top(states, attention_mask)
        return top


class WholeEncoder(nn.Module):
    """A whole encoder that runs as one, from ids to the last layer's states.

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
