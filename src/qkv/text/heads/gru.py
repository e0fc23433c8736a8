"""The head that reads states by a recurrent network, from both real ends of a text."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from qkv.text.heads.head import Head, Intermediates
from qkv.text.heads.packed import Packing
from qkv.text.heads.recurrence import gated_recurrence
from qkv.text.heads.settings import GRUHeadSettings

DIRECTIONS = ("", "_reverse")


class GRUHead(Head):
    """A bidirectional GRU; the top layer's last state of each direction, side by side.

    The weights are those of torch's `nn.GRU`, by the same names and from the same start. Padding is
    never visited, so the backward direction begins at each text's own last token.
    """

    def __init__(self, settings: GRUHeadSettings, dim: int, num_classes: int) -> None:
        super().__init__(2 * settings.hidden_size, num_classes, dropout=settings.dropout)
        self.gru = nn.GRU(
            dim,
            settings.hidden_size,
            settings.num_layers,
            batch_first=True,
            dropout=settings.dropout if settings.num_layers > 1 else 0.0,
            bidirectional=True,
        )

    def pool(
        self,
        states: Float[Tensor, "texts tokens dim"],
        attention_mask: Bool[Tensor, "texts tokens"],
    ) -> tuple[Float[Tensor, "texts features"], Intermediates]:
        """Last forward and last backward state of the top layer."""
        if states.device.type != "cpu":
            return self._by_torch(states, attention_mask), {}
        packing = Packing.of(attention_mask)
        x = packing.pack(states)
        for layer in range(self.gru.num_layers):
            forward, backward = self._layer(layer, x, packing)
            x = torch.cat([forward, backward[packing.reverse]], dim=1)
            if layer + 1 < self.gru.num_layers:
                x = nn.functional.dropout(x, self.gru.dropout, self.training)
        # Read backwards, a text's last token comes first: both directions end at `reverse` of it.
        last = packing.reverse[packing.first_rows]
        return torch.cat([forward[last], backward[last]], dim=1), {}

    def _layer(self, layer: int, x: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """All states of both directions, (rows, hidden) each, in the order they are visited."""

        def weights(name: str) -> list[Tensor]:
            return [getattr(self.gru, f"{name}_l{layer}{direction}") for direction in DIRECTIONS]

        # One product for both directions; under autocast it runs in its precision.
        given = nn.functional.linear(x, torch.cat(weights("weight_ih"))).to(x.dtype)
        forward, backward = given.chunk(2, dim=1)
        inputs = torch.stack([forward, backward[packing.reverse]])
        inputs = inputs + torch.stack(weights("bias_ih"))[:, None]
        visited = gated_recurrence(
            inputs,
            torch.stack(weights("weight_hh")),
            torch.stack(weights("bias_hh")),
            packing.active,
        )
        return visited[0], visited[1]

    def _by_torch(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """The same through the accelerator's own kernels."""
        lengths = attention_mask.sum(dim=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            states, lengths, batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed)
        return torch.cat([last[-2], last[-1]], dim=1)
