"""How a cost grows with length: the exponent of a power law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np

# Below this many tokens fixed costs of a call hide its growth.
LONG_TOKENS = 1024
LEAST_POINTS = 3


class Fit(TypedDict):
    """cost ≈ factor · tokens^exponent.

    Attributes:
        exponent: slope of the line through (log tokens, log cost).
        factor: cost at one token, on that line, in the unit of the costs.
        from_tokens: shortest length of the fit.
        to_tokens: longest length of the fit.
        points: lengths in the fit.
    """

    exponent: float
    factor: float
    from_tokens: int
    to_tokens: int
    points: int


def fit_power_law(costs: Mapping[int, float]) -> Fit | None:
    """Least squares of log cost against log tokens, over the long lengths.

    Those are the lengths of 1,024 tokens and more or, if fewer than three of them were measured,
    the three longest of all. None with fewer than three lengths, or a cost of zero.

    Args:
        costs: by number of tokens.
    """
    lengths = sorted(costs)
    long = [tokens for tokens in lengths if tokens >= LONG_TOKENS]
    if len(long) < LEAST_POINTS:
        long = lengths[-LEAST_POINTS:]
    if len(long) < LEAST_POINTS or min(costs[tokens] for tokens in long) <= 0:
        return None
    x = np.log(np.array(long, dtype=np.float64))
    y = np.log(np.array([costs[tokens] for tokens in long], dtype=np.float64))
    exponent = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return {
        "exponent": exponent,
        "factor": float(np.exp(y.mean() - exponent * x.mean())),
        "from_tokens": long[0],
        "to_tokens": long[-1],
        "points": len(long),
    }
