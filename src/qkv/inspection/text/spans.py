"""Neighbouring words taken together, where a text has more words than can be asked about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkv.data.dataset import IntArray
from qkv.inspection.masked import BoolArray, FloatArray, MaskedInput


@dataclass(frozen=True)
class Spans:
    """A partition of parts in their order.

    Attributes:
        bounds: int64 (spans + 1,): span i has the parts from bounds[i] to before bounds[i + 1].
    """

    bounds: IntArray

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> IntArray:
        """Parts of each span."""
        lengths: IntArray = np.diff(self.bounds)
        return lengths

    @property
    def coarsened(self) -> str | None:
        """What is not told apart, in words; None where each word is a span of its own."""
        words = int(self.bounds[-1])
        if len(self) == words:
            return None
        return f"{words:,} words in {len(self):,} {'span' if len(self) == 1 else 'spans'}"

    @property
    def of_parts(self) -> IntArray:
        """The span of each part."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def all_but_one(self) -> BoolArray:
        """(spans, parts): each row lacks one span."""
        present: BoolArray = self.of_parts[None] != np.arange(len(self))[:, None]
        return present

    def shared(self, values: FloatArray) -> FloatArray:
        """One value a span to one a part, in equal shares."""
        shares: FloatArray = np.repeat(values / self.lengths, self.lengths)
        return shares


def equal_spans(parts: int, most: int) -> Spans:
    """At most `most` spans, at least one, of lengths that differ by at most one."""
    bounds = np.linspace(0, parts, min(max(most, 1), parts) + 1).round().astype(np.int64)
    return Spans(bounds)


class MaskedSpans:
    """An input of which whole spans are taken away."""

    def __init__(self, masked: MaskedInput, spans: Spans) -> None:
        self._masked = masked
        self._spans = spans

    @property
    def parts(self) -> int:
        """How many spans."""
        return len(self._spans)

    def probabilities(self, keep: BoolArray) -> FloatArray:
        """Probabilities (subsets, classes) of the input with only the kept spans."""
        return self._masked.probabilities(keep[:, self._spans.of_parts])
