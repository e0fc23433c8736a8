"""An input in parts, any of which can be taken away."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


class MaskedInput(Protocol):
    """What a model says of an input of which only some parts are left.

    The parts of an image are its patches, those of a text its words.
    """

    @property
    def parts(self) -> int:
        """How many parts there are, at least one."""
        ...

    def probabilities(self, keep: BoolArray) -> FloatArray:
        """Probabilities (subsets, classes) of the input with only the kept parts.

        Args:
            keep: (subsets, parts), True where a part stays.
        """
        ...
