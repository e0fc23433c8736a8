"""Attention without weights copies its tokens, up to an error of the order e^(−β²)."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TypedDict

import torch
from jaxtyping import Float64
from torch import Tensor

from qkv.attention import softmax_attention, softmax_attention_weights
from qkv.errors import StudyError
from qkv.studies.study import Cell, StudyDocument, Table

# The copy errors in closed form, at any β, also far below the smallest float64 number.
#
# With q = e^(−β²) the rows of softmax(X Xᵀ) are, up to their sums,
#
#     x1 = d + b:  1, q², q      sum 1 + q + q²
#     x2 = a:      q, 1,  q      sum 1 + 2q
#     x3 = c + b:  q, q², 1      sum 1 + q + q²
#
# and y_i − x_i = Σ_(j≠i) w_ij (x_j − x_i). In the orthogonal frame that gives, as a share of
# ‖x_i‖,
#
#     x1, x3:  q √(1 + q + 3q²/2) / (1 + q + q²)  → q
#     x2:      q √10 / (1 + 2q)                   → √10 · q


TOKENS = ("x1 = d + b", "x2 = a", "x3 = c + b")
CONSTANTS = (1.0, math.sqrt(10.0), 1.0)  # what the relative error over q tends to
LOG10_SMALLEST = math.log10(sys.float_info.min)  # of the normal numbers of float64


def leaked_over_law(beta: float, token: int) -> float:
    """The weight that `token`, 0, 1 or 2, gives to the others, over e^(−β²)."""
    q = math.exp(-(beta**2))
    return 2 / (1 + 2 * q) if token == 1 else (1 + q) / (1 + q + q**2)


def error_over_law(beta: float, token: int) -> float:
    """‖y − x‖ / ‖x‖ of `token`, 0, 1 or 2, over e^(−β²)."""
    q = math.exp(-(beta**2))
    if token == 1:
        return math.sqrt(10) / (1 + 2 * q)
    return math.sqrt(1 + q + 1.5 * q**2) / (1 + q + q**2)


def log10_law(beta: float) -> float:
    """log10 of e^(−β²), which floats hold where they no longer hold the law itself."""
    return -(beta**2) / math.log(10)


def plain_number(log10: float) -> str:
    """10 to a power, which may be below every float64, in three digits: `0.05`, `1.2e-391`."""
    if log10 > -4:
        return f"{10**log10:.3g}"
    # Rounded to three digits, a factor from 9.995 on is 1.00 of the next power.
    exponent = math.floor(log10 + 1 - math.log10(9.995))
    return f"{10 ** (log10 - exponent):.2f}e{exponent:+03d}"


def number_cell(log10: float) -> float | str:
    """10 to a power as a float, or as text where float64 is too coarse for it."""
    return float(10**log10) if log10 > LOG10_SMALLEST else plain_number(log10)


def tokens(norms: Sequence[float]) -> Float64[Tensor, "tokens=3 dim=4"]:
    """x1 = d + b, x2 = a, x3 = c + b along the axes a, b, c, d of these norms.

    Attention sees scalar products alone, so any other orthogonal frame gives the same weights.
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
    """The claims of the exercise beside what is computed, and the numbers that decide."""
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
    return {
        "title": "Where the exercise's text errs",
        "columns": ["claim in print", "tested by", "in print", "computed", "so it should read"],
        "rows": [
            ["‖x2‖ = ‖b‖", "norms 1, 2, 3, 4", 2.0, numbers["x2_norm_with_unequal_vectors"], "‖a‖"],
            ["3rd score row starts 2β²", "x3·x1 / β²", 2.0, score, "β², 0, 2β²"],
            ["y3 → b", f"‖y3 − b‖ / β at β = {beta:g}", 0.0, to_b, "y3 → c + b"],
            ["", f"‖y3 − (c + b)‖ / β at β = {beta:g}", None, number_cell(log10_to_own), ""],
            ["b is outweighed", "least lead of a token's own score / β²", None, equal, "own score"],
            ["", "the same with b ten times as long", None, louder, "leads by β²"],
        ],
    }, numbers


# A difference of float64 vectors is good to a percent only if it is a hundred roundings long.
_LOG10_ROUNDING = math.log10(100 * sys.float_info.epsilon)
_TOO_SMALL = f"< {sys.float_info.min:.0e}"


class Point(TypedDict):
    """One token at one β."""

    beta: float  # the norm of a, b, c and d
    token: int  # 1, 2 or 3
    norm: float  # ‖x‖
    scores: list[float]  # x·x_1, x·x_2, x·x_3
    weights: list[float]  # their softmax
    output: list[float]  # y in coordinates along a, b, c, d
    leaked: float | None  # weight on the other tokens; None where float64 has no number so small
    distance: float | None  # ‖y − x‖ from the weights on the other tokens; None likewise
    plain_distance: float  # ‖y − x‖ by subtracting; of no meaning where it is mostly rounding
    log10_error: float  # log10 of ‖y − x‖ / ‖x‖ in closed form
    # measured ‖y − x‖ / ‖x‖ over e^(−β²); None where it was not measured
    error_over_law: float | None


def error_table(points: Sequence[Point]) -> Table:
    """Measured beside exact, and over the law."""
    rows: list[list[Cell]] = []
    for point in points:
        beta, number = point["beta"], point["token"] - 1
        log10_distance = point["log10_error"] + math.log10(point["norm"])
        log10_leaked = log10_law(beta) + math.log10(leaked_over_law(beta, number))
        lost = point["log10_error"] < _LOG10_ROUNDING
        rows.append(
            [
                beta,
                f"x{point['token']}",
                number_cell(log10_leaked) if point["leaked"] is None else point["leaked"],
                _TOO_SMALL if point["distance"] is None else point["distance"],
                number_cell(log10_distance),
                "lost in rounding" if lost else point["plain_distance"],
                number_cell(point["log10_error"]),
                point["error_over_law"],
                error_over_law(beta, number),
                CONSTANTS[number],
            ]
        )
    return {
        "title": "How far each output y is from its own token x (lengths in the unit of β)",
        "columns": [
            *("β", "token", "weight leaked", "‖y − x‖", "exact", "by y minus x"),
            *("‖y − x‖/‖x‖", "over e^(−β²)", "exact ratio", "limit"),
        ],
        "rows": rows,
    }


def score_table() -> Table:
    """Norms and scores, which β only scales."""
    x = tokens([1.0] * 4)
    return {
        "title": "Norms (in units of β) and scores X Xᵀ (in units of β²), at every β",
        "columns": ["token", "‖x‖ / β", "score with x1", "with x2", "with x3"],
        "rows": [
            [name, float(row.norm()), *(x @ row).tolist()]
            for name, row in zip(TOKENS, x, strict=True)
        ],
    }


def weight_table(points: Sequence[Point]) -> Table:
    """What each token takes from each, and what it becomes."""
    return {
        "title": "Weights softmax(X Xᵀ), and outputs y along a, b, c, d in units of β",
        "columns": ["β", "token", "on x1", "on x2", "on x3", "y along a", "b", "c", "d", "y →"],
        "rows": [
            [
                point["beta"],
                f"x{point['token']}",
                *map(_positive, point["weights"]),
                *(_positive(part / point["beta"]) for part in point["output"]),
                TOKENS[point["token"] - 1].split(" = ")[1],
            ]
            for point in points
        ],
    }


def _positive(value: float) -> Cell:
    """No weight, and no part of an output, is zero in truth; float64 may have nothing smaller."""
    return _TOO_SMALL if value < sys.float_info.min else value


_SMALLEST, _LARGEST = 0.001, 1000.0
_MANY = 64
_CURVE_POINTS = 300


class CopyingDocument(StudyDocument):
    """The study at some β."""

    points: list[Point]  # every token at every β
    # the closed form on a fine grid: `beta`, `log10_law`, and by token `log10_error` and
    # `error_over_law`
    curves: dict[str, list[float] | list[list[float]]]


def parse_betas(text: str) -> list[float]:
    """Norms from text with commas between them.

    Raises:
        StudyError: there is none, there are more than 64, or one is not a number from 0.001 to
            1000.
    """
    parts = [part.strip() for part in text.split(",")]
    if parts == [""]:
        raise StudyError("--beta is empty", remedy="give norms, such as 1,2,4,8")
    if len(parts) > _MANY:
        raise StudyError(f"--beta has {len(parts)} entries", remedy=f"give at most {_MANY}")
    betas = []
    for part in parts:
        try:
            beta = float(part)
        except ValueError:
            beta = math.nan
        # Beyond these ends β² leaves what float64 adds to 1, or the figure what anyone reads.
        if not _SMALLEST <= beta <= _LARGEST:
            given = repr(part if len(part) <= 40 else f"{part[:40]}…") if part else "empty"
            raise StudyError(
                f"--beta: {given} is not a norm between {_SMALLEST:g} and {_LARGEST:g}",
                remedy="give positive numbers with commas between, such as 1,2,4,8",
            )
        betas.append(beta)
    return betas


def study_copying(betas: Sequence[float]) -> CopyingDocument:
    """Attention softmax(X Xᵀ) X on x1 = d + b, x2 = a, x3 = c + b, at each norm β.

    a, b, c and d are orthogonal, of norm β, in float64.
    """
    points = [point for beta in betas for point in _measure(beta)]
    largest = max(betas)
    source, source_numbers = claims_tested(largest)
    gaps = [
        abs(point["error_over_law"] / error_over_law(point["beta"], point["token"] - 1) - 1)
        for point in points
        if point["error_over_law"] is not None
    ]
    worst = max(p["log10_error"] for p in points if p["beta"] == largest)
    return {
        "study": "copying",
        "settings": {"beta": list(betas)},
        "table": error_table(points),
        "tables": [score_table(), weight_table(points), source],
        "figures": {
            "limits_of_error_over_law": list(CONSTANTS),
            "largest_gap_of_measured_to_exact": max(gaps, default=None),
            "largest_beta": largest,
            "log10_largest_error_at_largest_beta": worst,
            **source_numbers,
        },
        "verdict": _verdict(largest, worst, gaps),
        "notes": _notes(largest, source_numbers),
        "points": points,
        "curves": _curves(betas),
    }


def _measure(beta: float) -> list[Point]:
    x = tokens([beta] * 4)
    weights = softmax_attention_weights(x, x, scale=1.0)
    output = softmax_attention(x, x, x, scale=1.0)
    scores = x @ x.T
    others = weights.masked_fill(torch.eye(3, dtype=torch.bool), 0.0)
    # y − x loses every digit where y rounds to x; Σ_(j≠i) w_ij (x_j − x_i) keeps them all.
    moved = (others.unsqueeze(-1) * (x.unsqueeze(0) - x.unsqueeze(1))).sum(dim=1)
    law = log10_law(beta)
    # Below the normal numbers of float64 digits are lost, and then all: a misleading zero.
    measured = law > LOG10_SMALLEST
    q = math.exp(-(beta**2))
    points: list[Point] = []
    for number in range(3):
        norm = float(x[number].norm())
        # Scaled before it is squared, so that the norm of a tiny vector is not zero.
        ratio = float((moved[number] / q).norm()) / norm if measured else None
        points.append(
            {
                "beta": beta,
                "token": number + 1,
                "norm": norm,
                "scores": scores[number].tolist(),
                "weights": weights[number].tolist(),
                "output": output[number].tolist(),
                "leaked": float(others[number].sum()) if measured else None,
                "distance": None if ratio is None else ratio * q * norm,
                "plain_distance": float((output[number] - x[number]).norm()),
                "log10_error": law + math.log10(error_over_law(beta, number)),
                "error_over_law": ratio,
            }
        )
    return points


def _curves(betas: Sequence[float]) -> dict[str, list[float] | list[list[float]]]:
    low, high = min(betas), max(betas)
    start, end = min(0.8 * low, 0.2), max(high, 1.0)
    steps = [number / (_CURVE_POINTS - 1) for number in range(_CURVE_POINTS)]
    # Then only a logarithmic axis shows both all the β and β near 1, where the law sets in.
    wide = high > 40 * min(1.0, low)
    end *= 1.3 if wide else 1.06
    grid = [start * (end / start) ** s if wide else start + (end - start) * s for s in steps]
    ratios = [[error_over_law(beta, token) for beta in grid] for token in range(3)]
    laws = [log10_law(beta) for beta in grid]
    return {
        "beta": grid,
        "log10_law": laws,
        "error_over_law": ratios,
        "log10_error": [
            [law + math.log10(ratio) for law, ratio in zip(laws, of_token, strict=True)]
            for of_token in ratios
        ],
    }


def _verdict(beta: float, log10_error: float, gaps: Sequence[float]) -> str:
    agreement = (
        f"What float64 can measure agrees with the closed form to {max(gaps):.0e}."
        if gaps
        else "Float64 has no numbers so small; the errors come from the closed form."
    )
    return (
        f"At β = {beta:g} every output lies within {plain_number(log10_error)} of its own token, "
        "as a share of the token's length. The error falls as e^(−β²): × 1 for x1 and x3, which "
        f"have one rival β² behind them, × √10 for x2, which has two. {agreement}"
    )


def _notes(beta: float, source: dict[str, float]) -> list[str]:
    return [
        "Why it copies: in every row of the scores the token's own leads the next best by exactly "
        "β², so softmax gives each rival e^(−β²) of the own weight, or less. With q = e^(−β²) the "
        "rows of weights are (1, q², q), (q, 1, q) and (q, q², 1), each over its sum. Thus "
        "x2 leaks 2q / (1 + 2q) = 2 / (e^(β²) + 2), x1 and x3 leak (q + q²) / (1 + q + q²).",
        "How it is measured: y − x rounds to nothing once y is x to 16 digits, from β = 6 or so, "
        "so ‖y − x‖ is summed from the weights on the other tokens, which keep their digits down "
        "to 2e-308. Beyond that, from β = 26.6, no float64 can hold them and only the closed form "
        "is shown.",
        "Where the exercise errs: x2 is a, so its norm is ‖a‖; x3·x1 = ‖b‖² = β², so the third row "
        "of scores is (β², 0, 2β²), the mirror image of the first; and y3 ends at c + b, its own "
        f"token: at β = {beta:g} it stays {source['y3_distance_to_b_over_beta']:.3g} β from b.",
        "What decides is not that b is outweighed. b adds ‖b‖² to the score of x1 with itself and "
        "with x3 alike and cancels in the softmax: make it ten times as long and the least lead "
        f"is still {source['smallest_margin_over_beta_squared_with_b_tenfold']:g} · β². "
        "What tokens do not share is what tells them apart.",
    ]
