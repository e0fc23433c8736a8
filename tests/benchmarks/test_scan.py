import json

import pytest
import torch

from benchmarks import scan
from qkv.errors import QKVError


def test_document():
    told = []
    document = scan.measure(
        quick=True, length=1001, progress=lambda done, total: told.append((done, total))
    )
    assert document.keys() == {"ratios", "figures"}
    assert document["ratios"].keys() == {
        "scan_vs_python_loop",
        "scan_vs_cumsum",
        "scan_vs_cumsum_train",
        "varying_scan_vs_python_loop",
    }
    assert all(ratio > 0 for ratio in document["ratios"].values())
    figures = document["figures"]
    for name, (low, median, high) in figures["quartiles_ms"].items():
        assert 0 < low <= median <= high
        assert figures[f"{name}_ms"] == median
    assert figures["exact"] is True
    assert figures["length"] == 1001
    assert told[-1] == (figures["rounds"], figures["rounds"])
    json.dumps(document, allow_nan=False)


def test_the_loops_by_hand():
    assert scan.python_loop([3, 1, 4], -1) == [3, -2, 6]
    assert scan.varying_python_loop([3, 1, 4], [9, 2, 0.5]) == [3, 7, 7.5]


def test_the_cumulative_sum_gives_the_same_gradient():
    inputs = torch.randn(7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(7, dtype=torch.float64)
    signs = torch.tensor([-1.0, 1.0] * 4, dtype=torch.float64)[:7]
    answers = [
        torch.autograd.grad(states, inputs, upstream)[0]
        for states in (
            scan.recurrence_scan(inputs, scan.DECAY),
            scan.alternating_by_cumsum(inputs, signs),
        )
    ]
    torch.testing.assert_close(*answers)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("recurrence_scan", "the scan and"), ("alternating_by_cumsum", "the cumulative sum and")],
)
def test_nothing_is_timed_behind_a_shut_gate(monkeypatch, name, problem):
    def never(*_args, **_kwargs):
        raise AssertionError("timed")

    right = getattr(scan, name)
    monkeypatch.setattr(scan, name, lambda *arguments: right(*arguments) + 1)
    monkeypatch.setattr(scan, "interleaved", never)
    with pytest.raises(QKVError, match=problem):
        scan.measure(quick=True, length=11)
