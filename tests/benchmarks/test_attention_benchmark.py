import json

import pytest

from benchmarks import attention
from benchmarks.registry import run
from qkv.errors import QKVError


def test_document(monkeypatch):
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
    for name in attention.CONTESTANTS:
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
    """A contestant that is called often for a sample is not charged for all its calls."""
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
    attend, twin, calls = attention.CONTESTANTS[name]

    def wrong(query, key, value):
        return attend(query, key, value) + 1e-3 * query.sum()

    monkeypatch.setitem(attention.CONTESTANTS, name, (wrong, twin, calls))
    with pytest.raises(QKVError, match=f"{name} attention and its plain form differ"):
        attention.measure(quick=True)
