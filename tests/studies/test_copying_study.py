from __future__ import annotations

import itertools
import json
import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import StudyError
from qkv.studies.copying import (
    error_over_law,
    leaked_over_law,
    log10_law,
    parse_betas,
    plain_number,
    study_copying,
)

DIGITS = 600  # decimal digits: weights of e^(−2β²) stay visible beside 1 at β = 20
TOKENS = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0]])  # on a, b, c, d


def attention_in_decimals(beta: float) -> tuple[list[Decimal], list[Decimal]]:
    """Leaked weights and relative errors of the three tokens, by the definition."""
    with localcontext() as context:
        context.prec = DIGITS
        square = Decimal(beta) ** 2
        scores = [[int(one @ other) * square for other in TOKENS] for one in TOKENS]
        leaked, errors = [], []
        for number, row in enumerate(scores):
            powers = [score.exp() for score in row]
            weights = [power / sum(powers) for power in powers]
            leaked.append(1 - weights[number])
            output = [
                sum((w * int(t[axis]) for w, t in zip(weights, TOKENS, strict=True)), Decimal(0))
                for axis in range(4)
            ]
            squares = [(y - int(x)) ** 2 for y, x in zip(output, TOKENS[number], strict=True)]
            length = Decimal(int(TOKENS[number] @ TOKENS[number])).sqrt()
            errors.append(sum(squares, Decimal(0)).sqrt() / length)
        return leaked, errors


def of(document: Any, beta: float) -> list[Any]:
    return [point for point in document["points"] if point["beta"] == beta]


@pytest.mark.parametrize("beta", [0.001, 0.5, 1.0, 2.0, 4.0, 8.0, 19.5])
def test_errors_are_those_of_600_digit_arithmetic(beta: float) -> None:
    leaked, errors = attention_in_decimals(beta)
    law = (-(Decimal(beta) ** 2)).exp()
    for number, point in enumerate(of(study_copying([beta]), beta)):
        # β² is rounded before it is raised to a power, which then is off by as much of itself.
        close = {"rel": 1e-12}
        assert point["leaked"] == pytest.approx(float(leaked[number]), **close)
        distance = float(errors[number]) * point["norm"]
        assert point["distance"] == pytest.approx(distance, **close)
        assert point["error_over_law"] == pytest.approx(float(errors[number] / law), **close)
        assert error_over_law(beta, number) == pytest.approx(float(errors[number] / law), **close)
        assert leaked_over_law(beta, number) == pytest.approx(float(leaked[number] / law), **close)
        assert point["log10_error"] == pytest.approx(float(errors[number].log10()), abs=1e-12)


def test_scores_weights_and_outputs_are_those_of_numpy() -> None:
    beta = 1.25
    points = of(study_copying([beta]), beta)
    x = TOKENS * beta
    scores = x @ x.T
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose([p["scores"] for p in points], scores, rtol=1e-15)
    np.testing.assert_allclose([p["weights"] for p in points], weights, rtol=1e-14)
    np.testing.assert_allclose([p["output"] for p in points], weights @ x, rtol=1e-14)
    np.testing.assert_allclose([p["norm"] for p in points], np.linalg.norm(x, axis=1))
    distances = np.linalg.norm(weights @ x - x, axis=1)
    np.testing.assert_allclose([p["distance"] for p in points], distances, rtol=1e-14)
    np.testing.assert_allclose([p["plain_distance"] for p in points], distances, rtol=1e-13)


def test_the_leak_of_the_second_token_by_hand() -> None:
    point = of(study_copying([2.0]), 2.0)[1]
    assert point["leaked"] == pytest.approx(2 / (math.exp(4) + 2), rel=1e-14)


@given(st.floats(0.001, 26.0))
def test_measured_is_exact(beta: float) -> None:
    gap = study_copying([beta])["figures"]["largest_gap_of_measured_to_exact"]
    assert gap < 1e-12


def test_ratios_tend_to_their_limits() -> None:
    document = study_copying([1.0, 2.0, 4.0, 6.0])
    limits = document["figures"]["limits_of_error_over_law"]
    assert limits == pytest.approx([1, math.sqrt(10), 1])
    gaps = [
        [
            abs(p["error_over_law"] / limit - 1)
            for p, limit in zip(of(document, b), limits, strict=True)
        ]
        for b in (1.0, 2.0, 4.0, 6.0)
    ]
    for earlier, later in itertools.pairwise(gaps):
        assert all(new < old for new, old in zip(later, earlier, strict=True))
    assert max(gaps[-1]) < 1e-14


def cells(document: Any) -> list[Any]:
    tables = [document["table"], *document["tables"]]
    return [(t["title"], c) for t in tables for row in t["rows"] for c in row]


@pytest.mark.parametrize("beta", [7.0, 8.0, 20.0, 26.7, 30.0, 1000.0])
def test_nothing_small_is_printed_as_zero(beta: float) -> None:
    document = study_copying([beta])
    named = {"Where the exercise's text errs", document["tables"][0]["title"]}
    zeros = [(title, cell) for title, cell in cells(document) if cell == 0 and title not in named]
    assert zeros == []
    subtracted = [row[5] for row in document["table"]["rows"]]
    assert subtracted == ["lost in rounding"] * 3
    to_own = document["tables"][2]["rows"][3][3]
    assert to_own not in (0, None)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_below_float64_the_closed_form_takes_over() -> None:
    held, beyond = (study_copying([beta]) for beta in (26.6, 26.7))
    assert all(point["distance"] > 0 for point in held["points"])
    assert [point["distance"] for point in beyond["points"]] == [None] * 3
    assert [point["leaked"] for point in beyond["points"]] == [None] * 3
    assert beyond["figures"]["largest_gap_of_measured_to_exact"] is None
    assert "closed form" in beyond["verdict"]
    assert beyond["table"]["rows"][0][6] == plain_number(-(26.7**2) / math.log(10))


def test_the_claims_of_the_source_are_put_to_the_test() -> None:
    document = study_copying([1.0, 6.0])
    figures = document["figures"]
    assert figures["x2_norm_with_unequal_vectors"] == 1  # ‖a‖; ‖b‖ is 2
    assert figures["third_score_row_first_entry_over_beta_squared"] == pytest.approx(1)
    assert figures["y3_distance_to_b_over_beta"] == pytest.approx(1)  # what is left is c
    _, errors = attention_in_decimals(6.0)
    to_own = float((errors[2] * Decimal(2).sqrt()).log10())
    assert figures["log10_y3_distance_to_x3_over_beta"] == pytest.approx(to_own, abs=1e-10)
    assert figures["smallest_margin_over_beta_squared"] == pytest.approx(1)
    assert figures["smallest_margin_over_beta_squared_with_b_tenfold"] == pytest.approx(1)


def test_curves_are_the_law_and_the_closed_form() -> None:
    curves: Any = study_copying([1.0, 8.0])["curves"]
    grid = np.array(curves["beta"])
    assert grid[0] < 1
    assert grid[-1] > 8
    q = np.exp(-(grid**2))
    np.testing.assert_allclose(10 ** np.array(curves["log10_law"]), q, rtol=1e-12)
    np.testing.assert_allclose(curves["error_over_law"][1], math.sqrt(10) / (1 + 2 * q))
    np.testing.assert_allclose(
        10 ** np.array(curves["log10_error"][0]),
        q * np.sqrt(1 + q + 1.5 * q**2) / (1 + q + q**2),
        rtol=1e-12,
    )
    assert curves["error_over_law"][0] == curves["error_over_law"][2]


@pytest.mark.parametrize(
    ("log10", "text"),
    [
        (-0.30103, "0.5"),
        (-3.9, "0.000126"),
        (-4.0001, "1.00e-04"),
        (-4.0003, "9.99e-05"),
        (-27.0, "1.00e-27"),
        (-390.865, "1.36e-391"),
    ],
)
def test_numbers_below_floats_are_written_out(log10: float, text: str) -> None:
    assert plain_number(log10) == text
    assert log10_law(30.0) == pytest.approx(-390.865, abs=1e-3)


def test_every_row_is_as_wide_as_its_table() -> None:
    document = study_copying([1.0, 30.0])
    for table in [document["table"], *document["tables"]]:
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}


def test_what_is_read() -> None:
    assert parse_betas("1,2.5, 4e0 ,0.001,1000") == [1.0, 2.5, 4.0, 0.001, 1000.0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("0", "'0' is not a norm between 0.001 and 1000"),
        ("1,-2", "'-2'"),
        ("nan", "'nan'"),
        ("inf", "'inf'"),
        ("1,two", "'two'"),
        ("1,,2", "empty is not a norm"),
        ("1001", "'1001'"),
        (",".join(["1"] * 65), "65 entries"),
        ("x" * 90, "x…'"),
    ],
)
def test_what_is_not_read(text: str, problem: str) -> None:
    with pytest.raises(StudyError) as refused:
        parse_betas(text)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
