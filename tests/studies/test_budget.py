"""What fits a budget, on a clock that the test owns."""

from __future__ import annotations

import math

import pytest

from qkv.errors import StudyError
from qkv.studies import attention_costs as module
from qkv.studies.attention_costs import Budget, as_seconds, default_memory_mib

GIB = 2**30


def test_memory_and_time_are_refused_by_name():
    now = [100.0]
    budget = Budget(60, 4 * GIB, clock=lambda: now[0])
    assert budget.refusal(59, 4 * GIB) is None
    assert budget.refusal(1, 16 * GIB) == "needs 16 GiB"
    assert budget.refusal(61, 1) == "needs 61 s"
    assert budget.refusal(40, 1, share=0.5) == "needs 40 s"
    now[0] = 150.0
    assert budget.spent_seconds == 50
    assert budget.refusal(9, 1) is None
    assert budget.refusal(11, 1) == "needs 11 s"
    assert budget.refusal(0.1, 1, share=0.5) == "no time left"


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_seconds_must_be_positive(seconds):
    with pytest.raises(StudyError, match="--max-seconds"):
        Budget(seconds, 1)


def test_memory_must_be_positive():
    with pytest.raises(StudyError, match="--max-memory-mib is -3"):
        Budget(1, -3 * 2**20)


@pytest.mark.parametrize(
    ("free", "mib"), [(None, 4096), (100 * GIB, 4096), (2 * GIB, 1024), (1000, 1)]
)
def test_the_default_leaves_half_of_what_is_free(monkeypatch, free, mib):
    monkeypatch.setattr(module, "free_bytes", lambda: free)
    assert default_memory_mib() == mib


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0149, "0.015 s"), (40.2, "40 s"), (599, "599 s"), (660, "11 min"), (9000, "2.5 h")],
)
def test_seconds_for_people(seconds, text):
    assert as_seconds(seconds) == text
