"""Lengths as people write them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import StudyError
from qkv.studies.study import parse_lengths


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("64..512", [64, 128, 256, 512]),
        ("64..1000", [64, 128, 256, 512]),
        ("100..100", [100]),
        (" 3 .. 13 ", [3, 6, 12]),
        ("64,100,1000", [64, 100, 1000]),
        ("7", [7]),
        ("1, 2", [1, 2]),
    ],
)
def test_ranges_and_lists(text, lengths):
    assert parse_lengths(text) == lengths


@given(st.integers(1, 1000), st.integers(1, 100_000))
def test_a_range_doubles_up_to_its_end(first, last):
    if first > last:
        with pytest.raises(StudyError, match="is more than"):
            parse_lengths(f"{first}..{last}")
        return
    lengths = parse_lengths(f"{first}..{last}")
    assert lengths[0] == first
    assert all(later == 2 * one for one, later in itertools.pairwise(lengths))
    assert lengths[-1] <= last < 2 * lengths[-1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("64,,128", "is empty"),
        ("64..", "is empty"),
        ("0", "0 tokens"),
        ("0..64", "0 tokens"),
        ("-3", "'-3' is not a number"),
        ("many", "'many' is not a number"),
        ("64..128..256", "is not a number"),
        ("64...128", "is not a number"),
        ("6_4", "'6_4' is not"),
        ("1e3", "'1e3' is not"),
        ("²", "'²' is not"),
        ("128,64", "64 comes after 128"),
        ("64,64", "64 comes after 64"),
        ("512..64", "512 is more than 64"),
        ("2147483648", "2147483648 tokens"),
        ("9" * 5000, "9…' is not a number"),
    ],
)
def test_bad_lengths(text, problem):
    with pytest.raises(StudyError, match=problem) as caught:
        parse_lengths(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
