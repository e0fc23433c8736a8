"""What is measured, what is refused, and the gate before both."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from qkv.measurement.memory import memory_of
from qkv.studies import attention_costs as costs_module
from qkv.studies.attention_costs import (
    KERNELS,
    LEAST_ROUNDS,
    WORKS,
    Budget,
    CostMeasurer,
    forward_call,
    given_and_kept_bytes,
    made_up_inputs,
    matrix_bytes,
    prepared,
)

HEAD_DIM = 8
GIB = 2**30


@pytest.fixture(autouse=True)
def _short_samples(monkeypatch):
    """Nobody reads these times, so none needs to last."""
    short = partial(costs_module.sampled, least_seconds=0.0)
    monkeypatch.setattr(costs_module, "sampled", short)
    monkeypatch.setattr(costs_module, "ROUNDS", 4)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def measurer(max_seconds=100.0, max_bytes=GIB, clock=None):
    return CostMeasurer(HEAD_DIM, Budget(max_seconds, max_bytes, clock or Clock()))


@pytest.mark.parametrize("work", WORKS)
def test_the_memory_of_plain_softmax_is_predicted(work):
    tokens = 512
    call = prepared(KERNELS["plain"].attend, work, made_up_inputs(work, tokens, HEAD_DIM))
    use = memory_of(call)
    predicted = matrix_bytes(KERNELS["plain"], work, tokens)
    assert 0.95 * use.extra_bytes <= predicted <= 1.1 * use.extra_bytes
    # One tensor is the output; with the backward pass three more are gradients.
    results = 1 if work == "forward" else 4
    assert use.kept_bytes == results * tokens * HEAD_DIM * 4
    assert given_and_kept_bytes(work, tokens, HEAD_DIM) == (3 + 1 if work == "forward" else 8) * (
        tokens * HEAD_DIM * 4
    )


def test_all_are_measured_where_all_fit():
    rows = measurer().measure(list(KERNELS), "train", 40)
    assert [row["kernel"] for row in rows] == list(KERNELS)
    for row in rows:
        assert row["skipped"] is None
        assert row["rounds"] == 4
        low, median, high = row["quartiles_ms"]
        assert 0 < low <= median == row["milliseconds"] <= high
        assert row["calls_per_sample"] >= 1
        assert row["peak_bytes"] == row["extra_bytes"] + 4 * 40 * HEAD_DIM * 4
    assert rows[list(KERNELS).index("linear")]["times_linear"] == 1.0
    assert all(row["times_linear"] > 0 for row in rows)


def test_what_needs_too_much_memory_is_skipped_and_named():
    tokens = 600
    rows = measurer(max_bytes=2**20).measure(list(KERNELS), "forward", tokens)
    skipped = {row["kernel"]: row["skipped"] for row in rows if row["skipped"]}
    # Two matrices of 600 × 600 and four tensors of 600 × 8, in float32.
    needed = (2 * tokens**2 + 4 * tokens * HEAD_DIM) * 4 / 2**20
    assert skipped == {"plain": f"needs {needed:.3g} MiB"}
    plain = rows[0]
    assert plain["milliseconds"] is plain["extra_bytes"] is plain["times_linear"] is None


def test_what_would_take_too_long_is_skipped_and_the_cheap_ones_stay(monkeypatch):
    costs = measurer(max_seconds=10.0)
    seconds = {"plain": 3.0, "fused": 1.2, "linear": 0.1, "causal_linear": 0.2}
    monkeypatch.setattr(costs, "predict_seconds", lambda name, work, tokens: seconds[name])
    rows = costs.measure(list(KERNELS), "forward", 33)
    # Five calls of each: fused brings the sum to 7.5 of 8 seconds, plain would need 15 more.
    assert {row["kernel"]: row["skipped"] for row in rows} == {
        "plain": "needs 22 s",
        "fused": None,
        "linear": None,
        "causal_linear": None,
    }
    assert all(row["rounds"] == LEAST_ROUNDS for row in rows if not row["skipped"])


def test_quadratic_kernels_leave_time_to_the_others(monkeypatch):
    clock = Clock()
    costs = measurer(max_seconds=100.0, clock=clock)
    clock.now = 85.0
    rows = costs.measure(list(KERNELS), "forward", 33)
    assert {row["kernel"] for row in rows if row["skipped"]} == {"plain", "fused"}
    clock.now = 101.0
    rows = costs.measure(list(KERNELS), "forward", 33)
    assert all(row["skipped"] for row in rows)


def test_predictions_follow_the_power_law_from_the_longest_length(monkeypatch):
    costs = measurer()
    for name, kernel in KERNELS.items():
        ratio = costs.predict_seconds(name, "forward", 4000) / costs.predict_seconds(
            name, "forward", 1000
        )
        assert ratio == pytest.approx(4.0**kernel.time_power)
    before = costs.predict_seconds("linear", "forward", 1000)
    costs.measure(["linear"], "forward", 9)  # shorter than what is known: teaches nothing
    assert costs.predict_seconds("linear", "forward", 1000) == before
    row = costs.measure(["linear"], "forward", 1000)[0]
    assert costs.predict_seconds("linear", "forward", 1000) == row["milliseconds"] / 1e3
    assert costs.predict_bytes("linear", "forward", 2000) == (
        2 * row["extra_bytes"] + 4 * 2000 * HEAD_DIM * 4
    )


def test_a_forward_call_attends():
    output = forward_call("causal_linear", 17, HEAD_DIM)()
    query, key, value = made_up_inputs("forward", 17, HEAD_DIM)
    expected = KERNELS["causal_linear"].twin(query, key, value)
    torch.testing.assert_close(output, expected)
