"""Copying at one β: weights, outputs, and how far they are from the copy."""

from __future__ import annotations

import math
from functools import cache

from typing_extensions import TypedDict

from qkv.errors import StudyError
from qkv.studies.copying import CONSTANTS, TOKENS, error_over_law, log10_law, study_copying

SMALLEST, LARGEST = 0.01, 20.0
CURVE_TO, _CURVE_POINTS = 5.0, 101


class CopiedToken(TypedDict):
    """One token and what attention makes of it.

    Attributes:
        name: such as `x1 = d + b`.
        scores: with each of the tokens.
        weights: on each of the tokens; they sum to 1.
        input: x along a, b, c and d, in units of β.
        output: y likewise.
        error: ‖y − x‖ / ‖x‖, from the closed form.
        measured: the same from the weights on the other tokens; None where float64 ends.
        log10_error: its logarithm, which never ends.
        limit: what its ratio to e^(−β²) tends to.
    """

    name: str
    scores: list[float]
    weights: list[float]
    input: list[float]
    output: list[float]
    error: float
    measured: float | None
    log10_error: float
    limit: float


class CopyingCurve(TypedDict):
    """The closed form from β = 0 to 5.

    Attributes:
        beta: ascending.
        log10_law: of e^(−β²).
        log10_errors: of ‖y − x‖ / ‖x‖, a list a token.
    """

    beta: list[float]
    log10_law: list[float]
    log10_errors: list[list[float]]


class CopyingAnswer(TypedDict):
    """The study at one β."""

    beta: float
    law: float
    log10_law: float
    tokens: list[CopiedToken]
    curve: CopyingCurve
    verdict: str
    notes: list[str]


def answer_copying(beta: float) -> CopyingAnswer:
    """Attention on x1 = d + b, x2 = a, x3 = c + b, where a to d are orthogonal and of norm β.

    Raises:
        StudyError: β is not a number from 0.01 to 20.
    """
    if not SMALLEST <= beta <= LARGEST:
        raise StudyError(
            f"beta is {beta:g}", remedy=f"give a number from {SMALLEST:g} to {LARGEST:g}"
        )
    found = study_copying([beta])
    inputs = ([0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0])
    return {
        "beta": beta,
        "law": math.exp(-(beta**2)),
        "log10_law": log10_law(beta),
        "tokens": [
            {
                "name": TOKENS[number],
                "scores": point["scores"],
                "weights": point["weights"],
                "input": [float(part) for part in inputs[number]],
                "output": [part / beta for part in point["output"]],
                "error": 10 ** point["log10_error"],
                "measured": _measured(point["distance"], point["norm"]),
                "log10_error": point["log10_error"],
                "limit": CONSTANTS[number],
            }
            for number, point in enumerate(found["points"])
        ],
        "curve": copying_curve(),
        "verdict": found["verdict"],
        "notes": found["notes"],
    }


def _measured(distance: float | None, norm: float) -> float | None:
    return None if distance is None else distance / norm


@cache
def copying_curve() -> CopyingCurve:
    """The closed form on a grid that is even in β² as in the logarithm of the law."""
    grid = [CURVE_TO * math.sqrt(step / (_CURVE_POINTS - 1)) for step in range(_CURVE_POINTS)]
    return {
        "beta": grid,
        "log10_law": [log10_law(beta) for beta in grid],
        "log10_errors": [
            [log10_law(beta) + math.log10(error_over_law(beta, token)) for beta in grid]
            for token in range(len(TOKENS))
        ],
    }
