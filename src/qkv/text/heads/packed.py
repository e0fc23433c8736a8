"""Texts of many lengths as one list of tokens in the order in which a recurrence visits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """Consecutive steps of a packed batch.

    Attributes:
        steps: their numbers.
        rows: where their rows lie.
    """

    steps: range
    rows: slice


@dataclass(frozen=True)
class Packing:
    """Where each token of a padded batch lies in a packed one.

    A packed batch holds first tokens before second tokens and so on, longest texts first, so the
    texts that are still going on at a step lie next to each other. It is the order of torch's
    `PackedSequence`.

    Attributes:
        places: int64 (rows,), the token of the padded batch, counted through all its texts, that
            lies in each packed row.
        reverse: int64 (rows,), the row that stands as far from its text's end as this one from its
            beginning: `packed[reverse]` runs through each text backwards. It is its own inverse.
        active: texts that are going on at each step.
        starts: the first row of each step.
        order: int64 (texts,), the texts from the longest to the shortest.
        ranks: int64 (texts,), the place of each text in that order.
    """

    places: Int64[Tensor, " rows"]
    reverse: Int64[Tensor, " rows"]
    active: tuple[int, ...]
    starts: tuple[int, ...]
    order: Int64[Tensor, " texts"]
    ranks: Int64[Tensor, " texts"]

    @classmethod
    def of(cls, attention_mask: Bool[Tensor, "texts tokens"]) -> Packing:
        """The packing of the tokens that a mask marks; at least one in the batch."""
        lengths = attention_mask.sum(dim=1)
        sorted_lengths, order = lengths.sort(descending=True, stable=True)
        step = torch.arange(int(sorted_lengths[0]), device=lengths.device)
        going_on = step[:, None] < sorted_lengths
        active = going_on.sum(dim=1)
        starts = active.cumsum(0) - active
        step, rank = going_on.nonzero(as_tuple=True)
        reverse = starts[sorted_lengths[rank] - 1 - step] + rank
        tokens = attention_mask.flatten().nonzero()[:, 0]
        first_tokens = (lengths.cumsum(0) - lengths)[order]
        return cls(
            tokens[first_tokens[rank] + step],
            reverse,
            tuple(active.tolist()),
            tuple(starts.tolist()),
            order,
            order.argsort(),
        )

    def pack(self, padded: Float[Tensor, "texts tokens dim"]) -> Float[Tensor, "rows dim"]:
        """The marked tokens of a padded batch, packed; no other is read."""
        return padded.flatten(0, 1).index_select(0, self.places)

    @property
    def last_rows(self) -> Int64[Tensor, " texts"]:
        """The row of the last token of each text, longest text first."""
        return self.reverse[: self.active[0]]

    def rows(self, step: int) -> slice:
        """The rows of a step."""
        return slice(self.starts[step], self.starts[step] + self.active[step])

    def spans(self, rows: int) -> Sequence[Span]:
        """The steps in their order, together as long as they have at most `rows` rows."""
        spans: list[Span] = []
        first = 0
        for step in range(1, len(self.active) + 1):
            ends = step == len(self.active)
            if ends or self.rows(step).stop - self.starts[first] > rows:
                held = slice(self.starts[first], self.rows(step - 1).stop)
                spans.append(Span(range(first, step), held))
                first = step
        return spans
