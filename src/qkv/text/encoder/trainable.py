"""Trainable copies of an encoder: its uppermost layers, or all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from qkv.text.encoder.blocks import mean_of
from qkv.text.encoder.packed_attention import AskedWeights


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
        return self.several(hidden_states, attention_mask, [len(self.layers)])

    def several(
        self,
        hidden_states: Float[Tensor, "texts tokens dim"],
        attention_mask: Bool[Tensor, "texts tokens"],
        layers: Sequence[int],
    ) -> Float[Tensor, "texts tokens dim"]:
        """The mean of the states of some layers; those above the highest are not computed.

        Args:
            hidden_states: output of the layer below.
            attention_mask: True where a token is.
            layers: which, the lowest of these layers being 1; 0 is `hidden_states`.
        """
        mask = attention_mask[:, None, None, :]
        read = {0: hidden_states}
        for number, layer in enumerate(self.layers[: max(layers)], start=1):
            hidden_states = layer(hidden_states, mask)
            read[number] = hidden_states
        return mean_of([read[layer] for layer in layers])

    def attention(
        self,
        hidden_states: Float[Tensor, "texts tokens dim"],
        attention_mask: Bool[Tensor, "texts tokens"],
        layer: int,
        head: int | None,
    ) -> list[Tensor]:
        """Attention weights of a layer, float32 (heads, tokens, tokens) of each text.

        Args:
            hidden_states: output of the layer below.
            attention_mask: True where a token is.
            layer: which, the lowest of these layers being 1.
            head: which, from 0; None: all.
        """
        below = self.several(hidden_states, attention_mask, [layer - 1])
        asked = AskedWeights(len(below), head)
        self.layers[layer - 1](below, attention_mask[:, None, None, :], asked=asked)
        return asked.weights


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
        embeddings = self.word_embeddings(input_ids)
        return self.several(embeddings, attention_mask, [len(self.top.layers)])

    def word_embeddings(
        self, input_ids: Int64[Tensor, "texts tokens"]
    ) -> Float[Tensor, "texts tokens width"]:
        """What stands for each token before anything is added to it."""
        vectors: Tensor = self.embeddings.word_embeddings(input_ids)  # type: ignore[operator]
        return vectors

    def several(
        self,
        word_embeddings: Float[Tensor, "texts tokens width"],
        attention_mask: Bool[Tensor, "texts tokens"],
        layers: Sequence[int],
    ) -> Float[Tensor, "texts tokens dim"]:
        """The mean of the states of some layers, 0 being the embeddings with their positions.

        Args:
            word_embeddings: of `word_embeddings`, or any others.
            attention_mask: True where a token is: at the beginning of each row.
            layers: which; those above the highest are not computed.
        """
        return self.top.several(self._embedded(word_embeddings), attention_mask, layers)

    def attention(
        self,
        input_ids: Int64[Tensor, "texts tokens"],
        attention_mask: Bool[Tensor, "texts tokens"],
        layer: int,
        head: int | None,
    ) -> list[Tensor]:
        """Attention weights of a layer, float32 (heads, tokens, tokens) of each text.

        Args:
            input_ids: tokens, with special ones.
            attention_mask: True where a token is: at the beginning of each row.
            layer: which, from 1.
            head: which, from 0; None: all.
        """
        states = self._embedded(self.word_embeddings(input_ids))
        return self.top.attention(states, attention_mask, layer, head)

    def _embedded(self, word_embeddings: Tensor) -> Tensor:
        positions = torch.arange(word_embeddings.shape[1], device=word_embeddings.device)
        states: Tensor = self.embeddings(
            input_ids=None,
            inputs_embeds=word_embeddings,
            position_ids=(positions + self._first_position).expand(word_embeddings.shape[:2]),
        )
        return states if self.projection is None else self.projection(states)


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

    def word_embeddings(
        self, input_ids: Int64[Tensor, "texts tokens"]
    ) -> Float[Tensor, "texts tokens width"]:
        """What stands for each token before anything is added to it."""
        vectors: Tensor = self.model.get_input_embeddings()(input_ids)
        return vectors

    def several(
        self,
        word_embeddings: Float[Tensor, "texts tokens width"],
        attention_mask: Bool[Tensor, "texts tokens"],
        layers: Sequence[int],
    ) -> Float[Tensor, "texts tokens dim"]:
        """The mean of the states of some layers, 0 being the embeddings with their positions.

        Args:
            word_embeddings: of `word_embeddings`, or any others.
            attention_mask: True where a token is: at the beginning of each row.
            layers: which.
        """
        answer: Any = self.model(
            inputs_embeds=word_embeddings,
            attention_mask=attention_mask,
            output_hidden_states=True,
        )
        return mean_of([answer.hidden_states[layer] for layer in layers])
