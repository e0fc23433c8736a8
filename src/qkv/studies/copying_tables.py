"""The tables of the copying study: errors, scores, weights."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TypedDict

from qkv.studies.copying_law import (
    CONSTANTS,
    TOKENS,
    error_over_law,
    leaked_over_law,
    log10_law,
    number_cell,
)
from qkv.studies.copying_source import tokens
from qkv.studies.document import Cell, Table

# A difference of float64 vectors is good to a percent only if it is a hundred roundings long.
_LOG10_ROUNDING = math.log10(100 * sys.float_info.epsilon)
_TOO_SMALL = f"< {sys.float_info.min:.0e}"


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
    rows: list[list[Cell]] = [
        [name, float(row.norm()), *(float(score) for score in x @ row)]
        for name, row in zip(TOKENS, x, strict=True)
    ]
    return {
        "title": "Norms (in units of β) and scores X Xᵀ (in units of β²), at every β",
        "columns": ["token", "‖x‖ / β", "score with x1", "with x2", "with x3"],
        "rows": rows,
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
