"""Every window in one bin, no bin overfull, and few bins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.text.encoder.blocks import fill_bins

LENGTHS = st.lists(st.integers(1, 40), max_size=60)


def bins_of(lengths: list[int], capacity: int) -> list[list[int]]:
    return [indices.tolist() for indices in fill_bins(np.array(lengths, dtype=np.int64), capacity)]


def test_a_case_by_hand() -> None:
    # 7 alone leaves 3; 6 leaves 4, which the 4 fits exactly; the 3 goes to the 7.
    assert bins_of([4, 7, 3, 6], 10) == [[1, 2], [3, 0]]


@given(lengths=LENGTHS, capacity=st.integers(40, 100))
def test_bins_hold_everything_once_and_are_not_overfull(lengths: list[int], capacity: int) -> None:
    bins = bins_of(lengths, capacity)
    assert sorted(index for indices in bins for index in indices) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in indices) <= capacity for indices in bins)


@given(lengths=LENGTHS, capacity=st.integers(40, 100))
def test_no_two_bins_could_be_one(lengths: list[int], capacity: int) -> None:
    sizes = sorted(
        sum(lengths[index] for index in indices) for indices in bins_of(lengths, capacity)
    )
    assert len(sizes) < 2 or sizes[0] + sizes[1] > capacity


def test_a_window_that_fits_no_bin() -> None:
    with pytest.raises(ValueError, match="a window of 11 tokens does not fit into 10"):
        bins_of([3, 11], 10)


def test_no_windows() -> None:
    assert bins_of([], 10) == []
