"""What a method finds: how much each part counts, and what is not exact about that."""

from __future__ import annotations

from dataclasses import dataclass

from qkv.inspection.masked import FloatArray


@dataclass(frozen=True)
class Attribution:
    """What a method gives for one input and one class.

    Attributes:
        contributions: float64, one a part, (parts,), or one a pixel, (height, width).
        completeness_gap: of a method whose contributions should sum to a difference of outputs, how
            far they do not: their sum less the difference, in the unit of the contributions. What
            goes to no part, such as special tokens, is counted into the sum. None of others.
        coarsened: what was done more coarsely than for a short input, in words; None if nothing.
    """

    contributions: FloatArray
    completeness_gap: float | None = None
    coarsened: str | None = None
