"""The copy errors of S2 in closed form, at any β, also far below the smallest float64 number.

With q = e^(−β²) the rows of softmax(X Xᵀ) are, up to their sums,

    x1 = d + b:  1, q², q      sum 1 + q + q²
    x2 = a:      q, 1,  q      sum 1 + 2q
    x3 = c + b:  q, q², 1      sum 1 + q + q²

and y_i − x_i = Σ_(j≠i) w_ij (x_j − x_i). In the orthogonal frame that gives, as a share of ‖x_i‖,

    x1, x3:  q √(1 + q + 3q²/2) / (1 + q + q²)  → q
    x2:      q √10 / (1 + 2q)                   → √10 · q
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

TOKENS = ("x1 = d + b", "x2 = a", "x3 = c + b")
CONSTANTS = (1.0, math.sqrt(10.0), 1.0)  # what the relative error over q tends to
LOG10_SMALLEST = math.log10(sys.float_info.min)  # of the normal numbers of float64


def leaked_over_law(beta: float, token: int) -> float:
    """The weight that a token gives to the others, over e^(−β²).

    Args:
        beta: the norm of a, b, c and d.
        token: 0, 1 or 2.
    """
    q = math.exp(-(beta**2))
    return 2 / (1 + 2 * q) if token == 1 else (1 + q) / (1 + q + q**2)


def error_over_law(beta: float, token: int) -> float:
    """‖y − x‖ / ‖x‖ of a token, over e^(−β²); arguments as in `leaked_over_law`."""
    q = math.exp(-(beta**2))
    if token == 1:
        return math.sqrt(10) / (1 + 2 * q)
    return math.sqrt(1 + q + 1.5 * q**2) / (1 + q + q**2)


def log10_law(beta: float) -> float:
    """log10 of e^(−β²), which floats hold where they no longer hold the law itself."""
    return -(beta**2) / math.log(10)


def spread_wide(betas: Sequence[float]) -> bool:
    """Whether only a logarithmic axis shows both all the β and β near 1, where the law sets in."""
    return max(betas) > 40 * min(1.0, *betas)


def plain_number(log10: float) -> str:
    """10 to a power, which may be below every float64, in three digits: `0.05`, `1.2e-391`."""
    if log10 > -4:
        return f"{10**log10:.3g}"
    exponent = math.floor(log10)
    return f"{10 ** (log10 - exponent):.2f}e{exponent:+03d}"


def number_cell(log10: float) -> float | str:
    """10 to a power as a float, or as text where float64 is too coarse for it."""
    return float(10**log10) if log10 > LOG10_SMALLEST else plain_number(log10)
