"""Where the source's text on S2 errs, each claim put to the test by computing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from qkv.attention import softmax_attention
from qkv.studies.copying_law import error_over_law, log10_law, number_cell
from qkv.studies.document import Table


def tokens(norms: Sequence[float]) -> Float64[Tensor, "tokens=3 dim=4"]:
    """x1 = d + b, x2 = a, x3 = c + b along the axes a, b, c, d.

    Attention sees scalar products alone, so any other orthogonal frame gives the same weights.

    Args:
        norms: ‖a‖, ‖b‖, ‖c‖, ‖d‖.
    """
    a, b, c, d = torch.diag(torch.tensor(norms, dtype=torch.float64))
    return torch.stack([d + b, a, c + b])


def margins(x: Float64[Tensor, "tokens dim"]) -> list[float]:
    """By how much each token's own score beats the best of the others."""
    scores = x @ x.T
    own = scores.diagonal()
    others = scores.masked_fill(torch.eye(len(x), dtype=torch.bool), -torch.inf)
    return [float(margin) for margin in own - others.amax(dim=1)]


def claims_tested(beta: float) -> tuple[Table, dict[str, float]]:
    """The claims of the source beside what is computed, and the numbers that decide.

    Args:
        beta: the norm of the four vectors, where they have one.
    """
    unequal = tokens([1.0, 2.0, 3.0, 4.0])
    x = tokens([beta] * 4)
    score = float((x @ x.T)[2, 0]) / beta**2
    y3 = softmax_attention(x, x, x, scale=1.0)[2]
    b = torch.tensor([0.0, beta, 0.0, 0.0], dtype=torch.float64)
    to_b = float((y3 - b).norm()) / beta
    # Of the difference to its own token rounding leaves nothing; the closed form has it all.
    log10_to_own = log10_law(beta) + math.log10(math.sqrt(2) * error_over_law(beta, 2))
    equal = min(margins(x)) / beta**2
    louder = min(margins(tokens([beta, 10 * beta, beta, beta]))) / beta**2
    numbers = {
        "x2_norm_with_unequal_vectors": float(unequal[1].norm()),
        "third_score_row_first_entry_over_beta_squared": score,
        "y3_distance_to_b_over_beta": to_b,
        "log10_y3_distance_to_x3_over_beta": log10_to_own,
        "smallest_margin_over_beta_squared": equal,
        "smallest_margin_over_beta_squared_with_b_tenfold": louder,
    }
    title = "Where the source's text errs"
    columns = ["claim in print", "tested by", "in print", "computed", "so it should read"]
    return {
        "title": title,
        "columns": columns,
        "rows": [
            ["‖x2‖ = ‖b‖", "norms 1, 2, 3, 4", 2.0, numbers["x2_norm_with_unequal_vectors"], "‖a‖"],
            ["3rd score row starts 2β²", "x3·x1 / β²", 2.0, score, "β², 0, 2β²"],
            ["y3 → b", f"‖y3 − b‖ / β at β = {beta:g}", 0.0, to_b, "y3 → c + b"],
            ["", f"‖y3 − (c + b)‖ / β at β = {beta:g}", None, number_cell(log10_to_own), ""],
            ["b is outweighed", "least lead of a token's own score / β²", None, equal, "own score"],
            ["", "the same with b ten times as long", None, louder, "leads by β²"],
        ],
    }, numbers
