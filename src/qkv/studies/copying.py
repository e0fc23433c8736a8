"""S2: attention without weights copies its tokens, up to an error of the order e^(−β²)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from qkv.attention import softmax_attention, softmax_attention_weights
from qkv.errors import StudyError
from qkv.studies.copying_law import (
    CONSTANTS,
    LOG10_SMALLEST,
    error_over_law,
    log10_law,
    plain_number,
    spread_wide,
)
from qkv.studies.copying_source import claims_tested, tokens
from qkv.studies.copying_tables import Point, error_table, score_table, weight_table
from qkv.studies.document import StudyDocument

_SMALLEST, _LARGEST = 0.001, 1000.0
_MANY = 64
_CURVE_POINTS = 300


class CopyingDocument(StudyDocument):
    """The study at some β.

    Attributes:
        points: every token at every β.
        curves: the closed form on a fine grid: `beta`, `log10_law`, and by token `log10_error`
            and `error_over_law`.
    """

    points: list[Point]
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

    a, b, c and d are orthogonal, of norm β, in float64. The closed form is in `copying_law`.
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
    return [_point(beta, number, x, scores, weights, others, output, moved) for number in range(3)]


def _point(
    beta: float,
    number: int,
    x: Float64[Tensor, "tokens dim"],
    scores: Float64[Tensor, "tokens tokens"],
    weights: Float64[Tensor, "tokens tokens"],
    others: Float64[Tensor, "tokens tokens"],
    output: Float64[Tensor, "tokens dim"],
    moved: Float64[Tensor, "tokens dim"],
) -> Point:
    law = log10_law(beta)
    # Below the normal numbers of float64 digits are lost, and then all: a misleading zero.
    measured = law > LOG10_SMALLEST
    norm = float(x[number].norm())
    # Scaled before it is squared, so that the norm of a tiny vector is not zero.
    q = math.exp(-(beta**2)) if measured else 0.0
    ratio = float((moved[number] / q).norm()) / norm if measured else None
    return {
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


def _curves(betas: Sequence[float]) -> dict[str, list[float] | list[list[float]]]:
    low, high = min(betas), max(betas)
    start, end = min(0.8 * low, 0.2), max(high, 1.0)
    steps = [number / (_CURVE_POINTS - 1) for number in range(_CURVE_POINTS)]
    wide = spread_wide(betas)
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
        "Where the source errs: x2 is a, so its norm is ‖a‖; x3·x1 = ‖b‖² = β², so the third row "
        "of scores is (β², 0, 2β²), the mirror image of the first; and y3 ends at c + b, its own "
        f"token: at β = {beta:g} it stays {source['y3_distance_to_b_over_beta']:.3g} β from b.",
        "What decides is not that b is outweighed. b adds ‖b‖² to the score of x1 with itself and "
        "with x3 alike and cancels in the softmax: make it ten times as long and the least lead "
        f"is still {source['smallest_margin_over_beta_squared_with_b_tenfold']:g} · β². "
        "What tokens do not share is what tells them apart.",
    ]
