"""The difference between two classifiers that answered the same examples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qkv.errors import ShapeError

BoolArray = npt.NDArray[np.bool_]

_Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True)
class PairedDifference:
    """How much more often the second is right than the first.

    Attributes:
        difference: accuracy of the second minus accuracy of the first, the mean over seeds.
        interval_95: its 95 % interval (low, high), for the draw of the examples.
        by_seed: the difference of each seed.
        only_first, only_second: answers that one alone has right, all seeds together.
    """

    difference: float
    interval_95: tuple[float, float]
    by_seed: tuple[float, ...]
    only_first: int
    only_second: int

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves out 0 and every seed agrees about the sign."""
        low, high = self.interval_95
        return (low > 0 and min(self.by_seed) > 0) or (high < 0 and max(self.by_seed) < 0)


def paired_difference(first: BoolArray, second: BoolArray) -> PairedDifference:
    """Compare two classifiers by whether they are right, example by example.

    With e_i in [−1, 1] the second's score at example i minus the first's (the mean over seeds) and
    n examples, d = Σ e_i / n is reported with the interval d* ± z·√(v*/(n + 2)), where
    d* = Σ e_i / (n + 2), v* = (Σ e_i² + 1)/(n + 2) − d*² and z = 1.96. For one seed that is the
    interval for matched pairs with half an example added to each cell of their 2 × 2 table, which
    keeps its level when few pairs differ: Agresti and Min, "Simple improved confidence intervals
    for comparing matched proportions", Statistics in Medicine 24, 2005.

    Args:
        first: (seeds, examples), whether the first is right.
        second: the same of the second, on the same examples and seeds.

    Raises:
        ShapeError: the two differ in shape, or there is no example or seed.
    """
    if first.shape != second.shape or first.ndim != 2 or first.size == 0:
        raise ShapeError(
            f"answers of shapes {first.shape} and {second.shape}",
            remedy="compare answers of one shape (seeds, examples), at least one of each",
        )
    step = second.astype(np.float64) - first
    each = step.mean(axis=0)
    padded = len(each) + 2
    centre = float(each.sum()) / padded
    variance = (float((each**2).sum()) + 1) / padded - centre**2
    reach = _Z_95 * math.sqrt(variance / padded)
    return PairedDifference(
        difference=float(each.mean()),
        interval_95=(max(-1.0, centre - reach), min(1.0, centre + reach)),
        by_seed=tuple(float(value) for value in step.mean(axis=1)),
        only_first=int((first & ~second).sum()),
        only_second=int((second & ~first).sum()),
    )
