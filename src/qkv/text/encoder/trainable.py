"""An encoder's layers as modules: the uppermost, all of them, or a model that runs as one."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from qkv.text.encoder.blocks import Block, mean_of
from qkv.text.encoder.packed_attention import AskedWeights

Ids = Int64[Tensor, "texts tokens"]
Mask = Bool[Tensor, "texts tokens"]
States = Float[Tensor, "texts tokens dim"]
Vectors = Float[Tensor, "texts tokens width"]  # of words, before the layers
Windows = Sequence[npt.NDArray[Any]]


class EncoderTop(nn.Module):
    """The uppermost layers, from the hidden states below them to the last.

    Args:
        layers: lowest first.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, hidden_states: States, attention_mask: Mask) -> States:
        """The last layer's states; those of padding mean nothing."""
        mask = attention_mask[:, None, None, :]
        return self.run(hidden_states, [len(self.layers)], attention_mask=mask)

    def run(self, hidden_states: Tensor, layers: Sequence[int], **seen: Any) -> Tensor:
        """The mean of the states of some layers; those above the highest are not computed.

        Args:
            hidden_states: output of the layer below, (texts, tokens, dim).
            layers: which, the lowest of these layers being 1; 0 is `hidden_states`.
            seen: the mask, or the lengths of packed texts, as the layers take them.
        """
        read = {0: hidden_states}
        for number, layer in enumerate(self.layers[: max(layers)], start=1):
            hidden_states = layer(hidden_states, **seen)
            if number in layers:
                read[number] = hidden_states
        return mean_of([read[layer] for layer in layers])

    def attention(
        self, hidden_states: States, attention_mask: Mask, layer: int, head: int | None
    ) -> list[Tensor]:
        """Attention weights of a layer, float32 (heads, tokens, tokens) of each text.

        Args:
            hidden_states: output of the layer below.
            attention_mask: True where a token is.
            layer: which, the lowest of these layers being 1.
            head: which, from 0; None: all.
        """
        mask = attention_mask[:, None, None, :]
        return self.run_attention(
            hidden_states, layer, head, len(hidden_states), attention_mask=mask
        )

    def run_attention(
        self, hidden_states: Tensor, layer: int, head: int | None, texts: int, **seen: Any
    ) -> list[Tensor]:
        """`attention` as `run` goes, of the first `texts` texts."""
        below = self.run(hidden_states, [layer - 1], **seen)
        asked = AskedWeights(texts, head)
        self.layers[layer - 1](below, **seen, asked=asked)
        return asked.weights


class StackedEncoder(nn.Module):
    """A whole encoder of layers that stand alone, from ids to the last layer's states.

    Args:
        model: of transformers.
        stack: attribute path of its layers.
        first_position: where positions are counted from.
    """

    def __init__(self, model: Any, stack: str, first_position: int) -> None:
        super().__init__()
        self.embeddings: nn.Module = model.embeddings
        # To the layers' width, where the embeddings have another.
        self.projection: nn.Module | None = getattr(model, "embeddings_project", None)
        self.top = EncoderTop(nn.ModuleList(attrgetter(stack)(model)))
        self._first_position = first_position

    def forward(self, input_ids: Ids, attention_mask: Mask) -> States:
        """The last layer's states; those of padding mean nothing."""
        embedded = self._embedded(self.word_embeddings(input_ids))
        states: Tensor = self.top(embedded, attention_mask)
        return states

    def word_embeddings(self, input_ids: Ids) -> Vectors:
        """What stands for each token before anything is added to it."""
        vectors: Tensor = self.embeddings.word_embeddings(input_ids)  # type: ignore[operator]
        return vectors

    def several(
        self, word_embeddings: Vectors, attention_mask: Mask, layers: Sequence[int]
    ) -> States:
        """The mean of the states of some layers, 0 being the embeddings with their positions.

        Args:
            word_embeddings: of `word_embeddings`, or any others.
            attention_mask: True where a token is: at the beginning of each row.
            layers: which; those above the highest are not computed.
        """
        mask = attention_mask[:, None, None, :]
        return self.top.run(self._embedded(word_embeddings), layers, attention_mask=mask)

    def attention(
        self, input_ids: Ids, attention_mask: Mask, layer: int, head: int | None
    ) -> list[Tensor]:
        """Attention weights of a layer, counted from 1; see `EncoderTop.attention`."""
        states = self._embedded(self.word_embeddings(input_ids))
        return self.top.attention(states, attention_mask, layer, head)

    def packed(
        self, windows: Windows, layers: Sequence[int], device: torch.device, block: Block | None
    ) -> Sequence[Tensor]:
        """States (tokens, dim) of each window, computed end to end: the mean of some layers.

        Args:
            windows: integer (tokens,) each.
            layers: which layers; those above the highest are not computed.
            device: where the model is.
            block: how many rows they are filled up to, by a window that is thrown away; None: as
                many as there are tokens.
        """
        states, seen = self._embedded_packed(windows, device, block)
        lengths = [len(window) for window in windows]
        return torch.split(self.top.run(states, layers, **seen)[0, : sum(lengths)], lengths)

    def packed_attention(
        self,
        windows: Windows,
        layer: int,
        head: int | None,
        device: torch.device,
        block: Block | None,
    ) -> list[Tensor]:
        """Attention weights of a layer on the way that `packed` goes, see `attention`."""
        states, seen = self._embedded_packed(windows, device, block)
        found = self.top.run_attention(states, layer, head, len(windows), **seen)
        pairs = zip(windows, found, strict=True)
        return [weights[:, : len(window), : len(window)] for window, weights in pairs]

    def _embedded(self, word_embeddings: Tensor) -> Tensor:
        positions = torch.arange(word_embeddings.shape[1], device=word_embeddings.device)
        positions = positions.expand(word_embeddings.shape[:2])
        return self._positioned(positions, input_ids=None, inputs_embeds=word_embeddings)

    def _positioned(self, positions: Tensor, **tokens: Tensor | None) -> Tensor:
        position_ids = positions + self._first_position
        states: Tensor = self.embeddings(position_ids=position_ids, **tokens)
        return states if self.projection is None else self.projection(states)

    def _embedded_packed(
        self, windows: Windows, device: torch.device, block: Block | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """What the first layer reads (1, tokens, dim), and what tells layers who sees whom."""
        lengths = [len(window) for window in windows]
        total = sum(lengths)
        filling = 0 if block is None else block.rows - total
        # The filling stands at one position: it may be longer than there are positions.
        ids = np.pad(np.concatenate(windows).astype(np.int64), (0, filling))
        positions = np.pad(np.concatenate([np.arange(length) for length in lengths]), (0, filling))
        states = self._positioned(
            torch.from_numpy(positions)[None].to(device),
            input_ids=torch.from_numpy(ids)[None].to(device),
        )
        if block is None or not block.masked:
            texts = [*lengths, filling] if filling else lengths
            return states, {"attention_mask": None, "text_lengths": texts}
        if not filling:
            return states, {"attention_mask": None}
        is_token = torch.arange(block.rows, device=device) < total
        return states, {"attention_mask": is_token[None, None, None]}


class WholeEncoder(nn.Module):
    """A whole encoder that runs as one, from ids to the last layer's states.

    Args:
        model: of transformers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._pad_id = int(model.config.pad_token_id or 0)

    def forward(self, input_ids: Ids, attention_mask: Mask) -> States:
        """The last layer's states; those of padding mean nothing."""
        # Some models count positions by ids that are not the padding's.
        ids = input_ids.masked_fill(~attention_mask, self._pad_id)
        answer: Any = self.model(input_ids=ids, attention_mask=attention_mask)
        states: Tensor = answer.last_hidden_state
        return states

    def word_embeddings(self, input_ids: Ids) -> Vectors:
        """As `StackedEncoder.word_embeddings`."""
        vectors: Tensor = self.model.get_input_embeddings()(input_ids)
        return vectors

    def several(
        self, word_embeddings: Vectors, attention_mask: Mask, layers: Sequence[int]
    ) -> States:
        """As `StackedEncoder.several`."""
        answer: Any = self.model(
            inputs_embeds=word_embeddings, attention_mask=attention_mask, output_hidden_states=True
        )
        return mean_of([answer.hidden_states[layer] for layer in layers])
