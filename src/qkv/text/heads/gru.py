"""The head that reads states by a recurrent network, from both real ends of a text."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from qkv.text.heads.head import Head, Intermediates
from qkv.text.heads.packed import Packing
from qkv.text.heads.packed_gru import last_gru_states
from qkv.text.heads.settings import GRUHeadSettings


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
        if states.device.type != "cpu" or torch.compiler.is_compiling():
            return self._by_torch(states, attention_mask), {}
        packing = Packing.of(attention_mask)
        return last_gru_states(self.gru, packing.pack(states), packing), {}

    def _by_torch(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """The same by `nn.GRU` itself: an accelerator has kernels for it."""
        packing = Packing.of(attention_mask)
        active = torch.tensor(packing.active)
        packed = PackedSequence(packing.pack(states), active, packing.order, packing.ranks)
        _, last = self.gru(packed)
        return torch.cat([last[-2], last[-1]], dim=1)
