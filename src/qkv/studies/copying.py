"""S2: attention without weights copies its tokens, up to an error of the order e^(−β²)."""

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
from qkv.studies.copying_law import (
    CONSTANTS,
    NORMS,
    TOKENS,
    error_over_law,
    leaked_over_law,
    log10_law,
)
from qkv.studies.copying_source import claims_tested, tokens
from qkv.studies.document import Cell, StudyDocument, Table

_SMALLEST, _LARGEST = 0.001, 1000.0
_MANY = 64
_CURVE_POINTS = 300
# A difference of float64 vectors is good to a percent only if it is a hundred roundings long.
_ROUNDING = 100 * sys.float_info.epsilon
_LOG10_SMALLEST = math.log10(sys.float_info.min)


class Point(TypedDict):
    """One token at one β.

    Attributes:
        beta: the norm of a, b, c and d.
        token: 1, 2 or 3.
        norm: ‖x‖.
        scores: x·x_1, x·x_2, x·x_3.
        weights: their softmax.
        output: y in coordinates along a, b, c, d.
        leaked: weight on the other tokens; None where float64 has no number so small.
        distance: ‖y − x‖ from the weights on the other tokens; None likewise.
        plain_distance: ‖y − x‖ by subtracting; of no meaning where it is mostly rounding.
        log10_error: log10 of ‖y − x‖ / ‖x‖ in closed form.
        error_over_law: measured ‖y − x‖ / ‖x‖ over e^(−β²); None where it was not measured.
    """

    beta: float
    token: int
    norm: float
    scores: list[float]
    weights: list[float]
    output: list[float]
    leaked: float | None
    distance: float | None
    plain_distance: float
    log10_error: float
    error_over_law: float | None


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
    worst = max((p for p in points if p["beta"] == largest), key=lambda p: p["log10_error"])
    return {
        "study": "copying",
        "settings": {"beta": list(betas)},
        "table": _errors(points),
        "tables": [_scores(), _weights(points), source],
        "figures": {
            "limits_of_error_over_law": list(CONSTANTS),
            "largest_gap_of_measured_to_exact": max(gaps, default=None),
            "largest_beta": largest,
            "log10_largest_error_at_largest_beta": worst["log10_error"],
            **source_numbers,
        },
        "verdict": _verdict(largest, worst["log10_error"], gaps),
        "notes": _notes(points),
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
    return [
        _point(beta, number, x, scores, weights, others, output, moved) for number in range(3)
    ]


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
    # Numbers smaller than the normal ones have lost digits, or are a misleading zero.
    measured = law > _LOG10_SMALLEST
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


def _errors(points: Sequence[Point]) -> Table:
    rows: list[list[Cell]] = []
    for point in points:
        beta, number = point["beta"], point["token"] - 1
        law, exact = log10_law(beta), error_over_law(beta, number)
        length = math.log10(exact * point["norm"])
        lost = law + length < math.log10(_ROUNDING * point["norm"])
        leak = law + math.log10(leaked_over_law(beta, number))
        rows.append(
            [
                beta,
                f"x{point['token']}",
                _power(leak) if point["leaked"] is None else point["leaked"],
                "below float64" if point["distance"] is None else point["distance"],
                _power(law + length),
                "lost in rounding" if lost else point["plain_distance"],
                _power(point["log10_error"]),
                exact if point["error_over_law"] is None else point["error_over_law"],
            ]
        )
    return {
        "title": "How far each output y is from its own token x (lengths in the unit of β)",
        "columns": [
            "β",
            "token",
            "weight leaked",
            "‖y − x‖ by weights",
            "exact",
            "by subtracting",
            "‖y − x‖ / ‖x‖",
            "over e^(−β²)",
        ],
        "rows": rows,
    }


def _scores() -> Table:
    x = tokens([1.0] * 4)
    rows: list[list[Cell]] = [
        [name, float(row.norm()), *(float(score) for score in row @ x.T)]
        for name, row in zip(TOKENS, x, strict=True)
    ]
    return {
        "title": "Norms (in units of β) and scores X Xᵀ (in units of β²), the same at every β",
        "columns": ["token", "‖x‖ / β", "score with x1", "with x2", "with x3"],
        "rows": rows,
    }


def _weights(points: Sequence[Point]) -> Table:
    return {
        "title": "Weights softmax(X Xᵀ), and outputs y by their parts along a, b, c, d over β",
        "columns": ["β", "token", "on x1", "on x2", "on x3", "y: a", "b", "c", "d", "→"],
        "rows": [
            [
                point["beta"],
                f"x{point['token']}",
                *(
                    _power(_log10_weight(point["beta"], point["token"] - 1, other))
                    if weight < sys.float_info.min
                    else weight
                    for other, weight in enumerate(point["weights"])
                ),
                *(
                    _power(_log10_part(point, axis)) if 0 < abs(part) < 1e-300 else part
                    for axis, part in enumerate(value / point["beta"] for value in point["output"])
                ),
                TOKENS[point["token"] - 1].split(" = ")[1],
            ]
            for point in points
        ],
    }
