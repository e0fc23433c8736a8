"""Every index in one batch, batches within the budget, and as few as neighbours allow."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.text.text_encoder import token_budget_batches

LENGTHS = st.lists(st.integers(0, 50), max_size=60)


def batches_of(lengths: list[int], budget: int) -> list[list[int]]:
    return [b.tolist() for b in token_budget_batches(np.array(lengths, dtype=np.int64), budget)]


def test_a_case_by_hand() -> None:
    # Sorted: 2, 3, 3, 5, 11. Three of length 3 fit in 10; with the 5 it would be 20.
    assert batches_of([3, 11, 2, 5, 3], 10) == [[2, 0, 4], [3], [1]]


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_every_index_is_in_one_batch_and_lengths_grow(lengths: list[int], budget: int) -> None:
    flat = [index for batch in batches_of(lengths, budget) for index in batch]
    assert flat == sorted(range(len(lengths)), key=lambda index: lengths[index])


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_only_a_text_alone_exceeds_the_budget(lengths: list[int], budget: int) -> None:
    for batch in batches_of(lengths, budget):
        size = len(batch) * max(lengths[index] for index in batch)
        assert batch
        assert size <= budget or len(batch) == 1


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_no_batch_could_have_taken_the_next_text(lengths: list[int], budget: int) -> None:
    batches = batches_of(lengths, budget)
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * lengths[following[0]] > budget


def test_no_texts_give_no_batches() -> None:
    assert batches_of([], 10) == []


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        batches_of([1], 0)
