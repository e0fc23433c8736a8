"""Texts of many lengths as one list of tokens in the order in which a recurrence visits them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Where each token of a padded batch lies in a packed one.

    A packed batch holds first tokens before second tokens and so on, longest texts first, so the
    texts that are still going on at a step lie next to each other.

    Attributes:
        texts: int64 (rows,), the text of each packed row, as numbered in the padded batch.
        tokens: int64 (rows,), its place in that text.
        reverse: int64 (rows,), the row that stands as far from its text's end as this one from its
            beginning: `packed[reverse]` runs through each text backwards.
        active: texts that are going on at each step.
        first_rows: int64 (texts,), the row of each text's first token.
    """

    texts: Int64[Tensor, " rows"]
    tokens: Int64[Tensor, " rows"]
    reverse: Int64[Tensor, " rows"]
    active: tuple[int, ...]
    first_rows: Int64[Tensor, " texts"]

    @classmethod
    def of(cls, attention_mask: Bool[Tensor, "texts tokens"]) -> Packing:
        """The packing of a padded batch whose texts all stand in front."""
        lengths = attention_mask.sum(dim=1)
        sorted_lengths, order = lengths.sort(descending=True, stable=True)
        steps = int(sorted_lengths[0])
        going_on = torch.arange(steps, device=lengths.device)[:, None] < sorted_lengths
        active = going_on.sum(dim=1)
        starts = active.cumsum(0) - active
        step, rank = going_on.nonzero(as_tuple=True)
        reverse = starts[sorted_lengths[rank] - 1 - step] + rank
        return cls(order[rank], step, reverse, tuple(active.tolist()), order.argsort())

    def pack(self, padded: Float[Tensor, "texts tokens dim"]) -> Float[Tensor, "rows dim"]:
        """The tokens of a padded batch, packed."""
        return padded[self.texts, self.tokens]
