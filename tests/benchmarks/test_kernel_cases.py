"""The registry, and the cases of attention and of the scan."""

import json
import subprocess
import sys

import pytest
import torch

from benchmarks import attention, scan
from benchmarks.registry import run
from benchmarks.serving import module_environment
from qkv.errors import QKVError, RecipeError


def test_document_of_attention(monkeypatch):
    monkeypatch.setattr(attention, "QUICK_TOKENS", 128)
    told = []
    document = run("attention", quick=True, progress=lambda *counts: told.append(counts))
    assert document["ratios"].keys() >= {
        "forward_vs_plain",
        "forward_vs_fused",
        "train_vs_plain",
        "train_vs_fused",
    }
    assert all(ratio > 0 for ratio in document["ratios"].values())
    figures = document["figures"]
    for name in attention.SYSTEMS:
        for which in ("forward", "train"):
            low, median, high = figures["quartiles_ms"][f"{name}_{which}"]
            assert 0 < low <= median <= high
            assert figures[f"{name}_{which}_ms"] == median
    assert figures["crossing_tokens"] is None or figures["crossing_tokens"] > 0
    assert figures["tokens"] == 128
    assert figures["largest_difference"] <= 1e-4
    assert told[-1][0] == told[-1][1]
    json.dumps(document, allow_nan=False)


def test_ratios_are_those_of_single_calls(monkeypatch):
    """What is called often for a sample is not charged for all its calls."""
    monkeypatch.setattr(attention, "QUICK_TOKENS", 64)
    seconds = {"plain": 8.0, "fused": 4.0, "naive_linear": 50.0, "linear": 20.0}
    seconds["causal_linear"] = 20.0
    monkeypatch.setattr(
        attention,
        "interleaved",
        lambda cases, *_, **__: {name: [seconds[name.rsplit("_", 1)[0]]] for name in cases},
    )
    document = attention.measure(quick=True)
    assert document["figures"]["linear_forward_ms"] == pytest.approx(500.0)
    assert document["ratios"]["forward_vs_plain"] == pytest.approx(16.0)
    assert document["ratios"]["train_vs_fused"] == pytest.approx(8.0)
    assert document["ratios"]["causal_vs_linear"] == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["fused", "linear", "causal_linear"])
def test_no_speed_without_agreement(monkeypatch, name):
    attend, twin, calls = attention.SYSTEMS[name]

    def wrong(query, key, value):
        return attend(query, key, value) + 1e-3 * query.sum()

    monkeypatch.setitem(attention.SYSTEMS, name, (wrong, twin, calls))
    with pytest.raises(QKVError, match=f"{name} attention and its plain form differ"):
        attention.measure(quick=True)


def test_document_of_the_scan():
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


def test_unknown_name_offers_the_nearest():
    with pytest.raises(RecipeError, match=r"unknown benchmark 'vit-stepp'.*'vit-step'"):
        run("vit-stepp")


def test_document_names_case_and_machine(monkeypatch):
    asked = []

    def measure(*, quick, progress):
        asked.append((quick, progress))
        return {"ratios": {"a": 2.0}, "figures": {"b": 1}}

    monkeypatch.setattr(scan, "measure", measure)
    document = run("scan", quick=True)
    assert list(document) == ["case", "ratios", "figures", "machine"]
    assert document["case"] == "scan"
    assert document["machine"]["torch"]
    assert asked == [(True, None)]


def test_listing_does_not_load_torch():
    code = "import sys, benchmarks.registry; sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=False, env=module_environment()).returncode == 0
