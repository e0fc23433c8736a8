from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import QKVError, StudyError
from qkv.studies.recurrence import parse_sequence, study_recurrence

HUGE = 10**60
even_sequences = st.lists(st.integers(-HUGE, HUGE), min_size=1, max_size=12).flatmap(
    lambda half: st.permutations(half + half)
)


def test_the_default_sequence_by_hand() -> None:
    document = study_recurrence([3, 1, 4, 1, 5, 9])
    assert document["states"] == [3, -2, 6, -5, 10, -1]
    assert document["figures"] == {
        "length": 6,
        "odd_sum": 12,
        "even_sum": 11,
        "h_T": -1,
        "output": 0.0,
        "printed_odd_limit_gives": (1 + 1 + 9) - (3 + 4),
        "printed_alternating_limit_gives": -3 + 1 - 4,
    }
    assert document["table"]["rows"][4] == [5, "odd", 5, -5, 10, "−", -5]
    assert [row[-1] for row in document["tables"][0]["rows"]] == [True, True, False, False]
    assert "smaller than the 12" in document["verdict"]
    assert any("turns the answer over" in note for note in document["notes"])


@given(even_sequences)
def test_terms_add_up_to_the_last_state(values: list[int]) -> None:
    document = study_recurrence(values)
    state = 0
    for row, value in zip(document["table"]["rows"], values, strict=True):
        assert row[3] == state
        state = value - state
        assert row[4] == state
    assert sum(row[-1] for row in document["table"]["rows"]) == state
    assert state == sum(values[1::2]) - sum(values[0::2])
    below = Fraction(sum(values[1::2])) - Fraction(sum(values[0::2]))
    assert document["figures"]["output"] == (0.5 if below == 0 else float(below > 0))
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize(
    ("values", "met"),
    [([0, 2, 0, 0], "Both meet"), ([5, 2, 0, 1], "One of them"), ([1, 2, 3, 4], "Both differ")],
)
def test_a_lucky_wrong_limit_is_called_luck(values: list[int], met: str) -> None:
    document = study_recurrence(values)
    half = len(values) // 2
    odd_short = sum(values[1::2]) - sum(values[0::2][: half - 1])
    alternating_short = sum(x if k % 2 else -x for k, x in enumerate(values[:half]))
    assert document["figures"]["printed_odd_limit_gives"] == odd_short
    assert document["figures"]["printed_alternating_limit_gives"] == alternating_short
    assert any(met in note for note in document["notes"])


def test_a_tie_is_one_half() -> None:
    document = study_recurrence([-3, -3])
    assert document["figures"]["output"] == 0.5
    assert "equal to" in document["verdict"]


@pytest.mark.parametrize("values", [[], [1], [3, 1, 4]])
def test_odd_lengths_are_refused(values: list[int]) -> None:
    with pytest.raises(QKVError):
        study_recurrence(values)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("3,1,4", [3, 1, 4]),
        ("  -3 , +2 ", [-3, 2]),
        ("−3 2\t7", [-3, 2, 7]),
        ("9" * 4000, [int("9" * 4000)]),
    ],
)
def test_what_is_read(text: str, values: list[int]) -> None:
    assert parse_sequence(text) == values


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("3,x", "entry 2 is 'x'"),
        ("3,,1", "entry 2 is empty"),
        ("3,1,", "entry 3 is empty"),
        ("1.5,2", "entry 1 is '1.5'"),
        ("1_0,2", "'1_0'"),
        ("٣,1", "not an integer"),
        ("1,--2", "'--2'"),
        ("9" * 4001, "4,001 digits"),
        ("x" * 90, "x…'"),
    ],
)
def test_what_is_not_read(text: str, problem: str) -> None:
    with pytest.raises(StudyError) as refused:
        parse_sequence(text)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_sums_of_the_longest_integers_can_be_printed() -> None:
    document = study_recurrence([-int("9" * 4000), int("9" * 4000)])
    assert math.log10(2) + 4000 == pytest.approx(len(str(document["figures"]["h_T"])), abs=1)
    assert "…" in document["verdict"]
