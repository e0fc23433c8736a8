"""Exponents of power laws that are exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.studies.attention_costs import fit_power_law

LENGTHS = [64 * 2**power for power in range(9)]


@given(exponent=st.floats(-1, 3), factor=st.floats(1e-6, 1e6))
def test_an_exact_power_law_comes_back(exponent, factor):
    fit = fit_power_law({tokens: factor * tokens**exponent for tokens in LENGTHS})
    assert fit is not None
    assert fit["exponent"] == pytest.approx(exponent, abs=1e-9)
    assert fit["factor"] == pytest.approx(factor, rel=1e-6)


def test_short_lengths_are_left_out_where_there_are_enough_long_ones():
    costs = {tokens: 7.0 if tokens < 1024 else 3.0 * tokens**2 for tokens in LENGTHS}
    fit = fit_power_law(costs)
    assert fit is not None
    assert fit["exponent"] == pytest.approx(2.0)
    assert (fit["from_tokens"], fit["to_tokens"], fit["points"]) == (1024, 16384, 5)


def test_otherwise_the_three_longest_count():
    fit = fit_power_law({64: 1e9, 128: 128.0, 512: 512.0, 2048: 2048.0})
    assert fit is not None
    assert fit["exponent"] == pytest.approx(1.0)
    assert (fit["from_tokens"], fit["points"]) == (128, 3)


def test_it_is_the_least_squares_line():
    costs = {1024: 1.0, 2048: 2.5, 4096: 3.1, 9000: 11.0}
    slope, offset = np.polyfit(np.log(list(costs)), np.log(list(costs.values())), 1)
    fit = fit_power_law(costs)
    assert fit is not None
    assert fit["exponent"] == pytest.approx(slope)
    assert fit["factor"] == pytest.approx(np.exp(offset))


@pytest.mark.parametrize("costs", [{}, {64: 1.0, 128: 2.0}, {1024: 0, 2048: 1, 4096: 2}])
def test_nothing_is_fitted_to_too_little(costs):
    assert fit_power_law(costs) is None
