"""Embeddings and layers of an encoder, run one by one on tokens without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from qkv.text.encoder.blocks import Block
from qkv.text.encoder.packed import AskedWeights

if TYPE_CHECKING:
    from qkv.text.encoder.load import LoadedModel


@dataclass(frozen=True)
class LayerStack:
    """The parts of a model whose layers stand alone.

    Attributes:
        embeddings: ids and positions to hidden states.
        projection: to the layers' width, where the embeddings have another.
        layers: hidden states to hidden states, lowest first.
        first_position: where positions are counted from.
    """

    embeddings: nn.Module
    projection: nn.Module | None
    layers: Sequence[nn.Module]
    first_position: int

    @classmethod
    def of(cls, loaded: LoadedModel, first_position: int) -> Self | None:
        """The parts of a model; None if its layers do not stand alone."""
        if loaded.family.stack is None:
            return None
        module: Any = loaded.module
        layers = list(attrgetter(loaded.family.stack)(module))
        projection = getattr(module, "embeddings_project", None)
        return cls(module.embeddings, projection, layers, first_position)

    def packed(
        self,
        windows: Sequence[npt.NDArray[Any]],
        layers: Sequence[int],
        device: torch.device,
        block: Block | None,
    ) -> Tensor:
        """States of windows end to end, the mean of some layers.

        Args:
            windows: integer (tokens,) each.
            layers: which layers; those above the highest are not computed.
            device: where the model is.
            block: how many rows they are filled up to, by a window that is thrown away; None: as
                many as there are tokens.

        Returns:
            (tokens of all windows, dim).
        """
        states, seen = self._embedded(windows, device, block)
        read = {0: states}
        for number, layer in enumerate(self.layers[: max(layers)], start=1):
            states = layer(states, **seen)
            if number in layers:
                read[number] = states
        total = sum(map(len, windows))
        return mean_of([read[layer] for layer in layers])[0, :total]

    def attention(
        self,
        windows: Sequence[npt.NDArray[Any]],
        layer: int,
        head: int | None,
        device: torch.device,
        block: Block | None,
    ) -> list[Tensor]:
        """Attention weights of a layer, on the way that `packed` goes.

        Args:
            windows: integer (tokens,) each.
            layer: which, from 1.
            head: which, from 0; None: all.
            device: where the model is.
            block: as in `packed`.

        Returns:
            Float32 (heads, tokens, tokens) of each window.
        """
        states, seen = self._embedded(windows, device, block)
        for below in self.layers[: layer - 1]:
            states = below(states, **seen)
        asked = AskedWeights(len(windows), head)
        self.layers[layer - 1](states, **seen, asked=asked)
        pairs = zip(windows, asked.weights, strict=True)
        return [weights[:, : len(window), : len(window)] for window, weights in pairs]

    def _embedded(
        self, windows: Sequence[npt.NDArray[Any]], device: torch.device, block: Block | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """What the first layer reads (1, tokens, dim), and what tells layers who sees whom."""
        lengths = [len(window) for window in windows]
        total = sum(lengths)
        filling = 0 if block is None else block.rows - total
        # The filling stands at one position: it may be longer than there are positions.
        ids = np.pad(np.concatenate(windows).astype(np.int64), (0, filling))
        positions = np.pad(np.concatenate([np.arange(length) for length in lengths]), (0, filling))
        positions += self.first_position
        states = self.embeddings(
            input_ids=torch.from_numpy(ids)[None].to(device),
            position_ids=torch.from_numpy(positions)[None].to(device),
        )
        if self.projection is not None:
            states = self.projection(states)
        if block is None or not block.masked:
            texts = [*lengths, filling] if filling else lengths
            return states, {"attention_mask": None, "text_lengths": texts}
        if not filling:
            return states, {"attention_mask": None}
        is_token = torch.arange(block.rows, device=device) < total
        return states, {"attention_mask": is_token[None, None, None]}


def mean_of(states: Sequence[Tensor]) -> Tensor:
    """The mean of several layers' states, in float32; of one, itself."""
    if len(states) == 1:
        return states[0]
    return torch.stack([state.float() for state in states]).mean(dim=0)
