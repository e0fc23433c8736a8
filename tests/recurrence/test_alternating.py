"""The alternating recurrence: exact sums, the classifier, and its refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qkv.errors import IntegerOverflowError, QKVError, ShapeError
from qkv.recurrence import alternating_states, alternating_sum, compare_even_odd, recurrence_scan

LOWEST, HIGHEST = -(2**63), 2**63 - 1
INT64 = st.integers(LOWEST, HIGHEST)


def test_states_by_hand() -> None:
    assert alternating_states([3, 1, 4, 1, 5, 9]) == [3, -2, 6, -5, 10, -1]


@given(st.lists(st.integers(), min_size=1, max_size=30))
def test_closed_forms_of_any_integers(values: list[int]) -> None:
    length = len(values)
    by_sign = sum((-1) ** (length - k) * x for k, x in enumerate(values, start=1))
    assert alternating_sum(values) == alternating_states(values)[-1] == by_sign
    if length % 2 == 0:
        n = length // 2
        by_pairs = sum(values[2 * i - 1] - values[2 * i - 2] for i in range(1, n + 1))
        assert by_sign == by_pairs
        even, odd = sum(values[1::2]), sum(values[0::2])
        assert compare_even_odd(values) == (1.0 if even > odd else 0.0 if even < odd else 0.5)


def test_integers_beyond_64_bits() -> None:
    huge = 10**400
    assert alternating_sum([huge, huge + 1]) == 1
    assert alternating_states([huge, 1])[-1] == 1 - huge
    # e^(10^400) would overflow; the answer does not.
    assert compare_even_odd([huge, 0]) == 0.0
    assert compare_even_odd([0, huge]) == 1.0
    assert compare_even_odd([huge, huge]) == 0.5


@pytest.mark.parametrize("state", [-2, -1, 0, 1, 2])
def test_the_classifier_is_the_sigmoid(state: int) -> None:
    sigmoid = float(torch.sigmoid(torch.tensor(1000.0 * state, dtype=torch.float64)))
    assert compare_even_odd([5, 5 + state]) == sigmoid
    assert math.isclose(compare_even_odd(torch.tensor([5, 5 + state])).item(), sigmoid)


def test_sequences_of_other_kinds() -> None:
    assert alternating_sum(range(1, 5)) == 2
    assert alternating_sum((7,)) == 7


@pytest.mark.usefixtures("unchecked")
def test_numpy_integers_do_not_wrap() -> None:
    assert alternating_sum([np.int64(LOWEST), np.int64(HIGHEST)]) == 2**64 - 1


@given(st.lists(st.lists(INT64, min_size=5, max_size=5), min_size=1, max_size=3), st.integers(1, 5))
@settings(max_examples=60)
def test_tensors_equal_python_or_say_that_they_cannot(rows: list[list[int]], length: int) -> None:
    rows = [row[:length] for row in rows]
    exact = [alternating_sum(row) for row in rows]
    if all(LOWEST <= value <= HIGHEST for value in exact):
        assert alternating_sum(torch.tensor(rows)).tolist() == exact
    else:
        bad = next(i for i, value in enumerate(exact) if not LOWEST <= value <= HIGHEST)
        with pytest.raises(IntegerOverflowError, match=f"of row {bad} is {exact[bad]},"):
            alternating_sum(torch.tensor(rows))
    if length % 2 == 0:
        answers = compare_even_odd(torch.tensor(rows))
        assert answers.tolist() == [compare_even_odd(row) for row in rows]


@pytest.mark.parametrize(
    ("values", "exact"),
    [
        ([0, HIGHEST], HIGHEST),
        ([0, LOWEST], LOWEST),
        ([LOWEST], LOWEST),
        ([-1, HIGHEST], HIGHEST + 1),
        ([1, LOWEST], LOWEST - 1),
        ([LOWEST, 0], HIGHEST + 1),
        ([LOWEST, -1], HIGHEST),
        ([LOWEST, LOWEST], 0),
        # Sums on the way leave int64 and come back.
        ([LOWEST, HIGHEST, HIGHEST, LOWEST], 0),
        ([LOWEST, HIGHEST, LOWEST, HIGHEST, HIGHEST, LOWEST, HIGHEST, LOWEST], 0),
        ([0, HIGHEST, 0, HIGHEST, HIGHEST, 0], HIGHEST),
    ],
)
def test_the_borders_of_int64(values: list[int], exact: int) -> None:
    assert alternating_sum(values) == exact
    if LOWEST <= exact <= HIGHEST:
        total = alternating_sum(torch.tensor(values))
        assert total.dtype == torch.int64
        assert total.shape == ()
        assert total.item() == exact
    else:
        with pytest.raises(IntegerOverflowError, match=f"of the sequence is {exact},") as caught:
            alternating_sum(torch.tensor(values))
        assert "Python integers" in caught.value.remedy
    if len(values) % 2 == 0:
        expected = 0.5 if exact == 0 else float(exact > 0)
        assert compare_even_odd(torch.tensor(values)).item() == expected


def test_the_row_that_overflows_is_named() -> None:
    sequences = torch.zeros(2, 3, 2, dtype=torch.int64)
    sequences[1, 2] = torch.tensor([LOWEST, HIGHEST])
    with pytest.raises(IntegerOverflowError, match="of row 1, 2 is 18446744073709551615"):
        alternating_sum(sequences)


def test_a_large_batch_equals_the_scan() -> None:
    generator = torch.Generator().manual_seed(0)
    sequences = torch.randint(-(2**40), 2**40, (7, 1001), generator=generator)
    assert torch.equal(alternating_sum(sequences), recurrence_scan(sequences, -1)[:, -1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [alternating_sum, alternating_states, compare_even_odd])
@pytest.mark.parametrize(
    ("sequence", "problem", "remedy"),
    [
        ([], "the sequence is empty", "at least one"),
        ([1, 2.0], r"input 2 is 2\.0, not an integer", "exact"),
        ([True, 1], "input 1 is True, not an integer", "exact"),
        ([1, np.bool_(True)], "input 2 is", "exact"),
        ("31", "input 1 is '3', not an integer", "exact"),
    ],
)
def test_what_is_not_a_sequence_of_integers(
    function: Any, sequence: Any, problem: str, remedy: str
) -> None:
    with pytest.raises(QKVError, match=problem) as caught:
        function(sequence)
    assert remedy in caught.value.remedy


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [alternating_sum, compare_even_odd])
@pytest.mark.parametrize(
    ("sequence", "problem"),
    [
        (torch.zeros(4), "dtype torch.float32"),
        (torch.zeros(4, dtype=torch.int32), "dtype torch.int32"),
        (torch.tensor(4), r"shape \(\)"),
    ],
)
def test_tensors_that_are_refused(function: Any, sequence: Tensor, problem: str) -> None:
    with pytest.raises(ShapeError, match=problem):
        function(sequence)


@pytest.mark.parametrize("function", [alternating_sum, compare_even_odd])
def test_empty_tensors_are_refused(function: Any) -> None:
    with pytest.raises(QKVError, match="the sequence is empty"):
        function(torch.zeros(2, 0, dtype=torch.int64))


@pytest.mark.parametrize("sequence", [[1, 2, 3], torch.tensor([[1, 2, 3]])])
def test_an_odd_length_is_refused_with_the_reason(sequence: Any) -> None:
    with pytest.raises(QKVError, match="3 inputs, an odd number: the last one has no partner"):
        compare_even_odd(sequence)
