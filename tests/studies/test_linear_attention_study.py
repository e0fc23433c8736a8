"""The whole study at lengths that take no time, and its words about made-up costs."""

from __future__ import annotations

import json
from functools import partial

import pytest

from qkv.errors import QKVError, StudyError
from qkv.studies import attention_costs as costs_module
from qkv.studies import linear_attention as study_module
from qkv.studies.attention_costs import KERNELS, WORKS
from qkv.studies.linear_attention import study_linear_attention
from qkv.studies.linear_attention_report import report

LENGTHS = [16, 33, 70]
SETTINGS = {"head_dim": 64, "max_seconds": 300.0, "max_memory_mib": 4096}


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def document(told):
    with pytest.MonkeyPatch.context() as patch:
        short = partial(costs_module.sampled, least_seconds=0.0)
        patch.setattr(costs_module, "sampled", short)
        patch.setattr(costs_module, "ROUNDS", 3)
        patch.setattr(study_module, "speed_ratio", lambda ours, theirs, rounds: 1.5)
        return study_linear_attention(
            LENGTHS,
            head_dim=8,
            long=1200,
            max_memory_mib=256,
            progress=lambda done, total: told.append((done, total)),
        )


def test_everything_is_measured(document):
    rows = {(row["kernel"], row["work"], row["tokens"]): row for row in document["measurements"]}
    assert set(rows) == {(k, w, t) for k in KERNELS for w in WORKS for t in LENGTHS}
    assert all(row["skipped"] is None for row in rows.values())
    assert [(row["kernel"], row["tokens"]) for row in document["long"]] == [
        (name, tokens) for tokens in (300, 600, 1200) for name in ("linear", "causal_linear")
    ]
    assert document["settings"]["lengths"] == LENGTHS
    assert document["machine"]["threads"] == 1
    assert document["budget"]["max_memory_mib"] == 256
    assert 0 < document["budget"]["spent_seconds"] < 300


def test_it_is_json(document):
    assert json.loads(json.dumps(document, allow_nan=False))["study"] == "linear-attention"


def test_memory_grows_as_it_must(document):
    figures = document["figures"]
    assert figures["plain_forward_memory_exponent"] == pytest.approx(2.0)
    assert figures["long_linear_memory_exponent"] <= 1.05
    assert figures["long_causal_linear_memory_exponent"] <= 1.05
    fit = next(fit for fit in document["exponents"] if fit["kernel"] == "plain")
    assert (fit["time"]["from_tokens"], fit["time"]["points"]) == (16, 3)


def test_crossings_come_from_the_measurements(document):
    assert [found["against"] for found in document["crossings"]] == ["plain", "fused"]
    for found in document["crossings"]:
        measured = dict(found["ratios"])
        for row in document["measurements"]:
            if (row["kernel"], row["work"]) == (found["against"], "forward"):
                assert measured[row["tokens"]] == row["times_linear"]


def test_tables_are_whole(document):
    for table in (document["table"], *document["tables"]):
        assert table["rows"]
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}


def test_progress_reaches_its_end(document, told):
    total = 2 * len(LENGTHS) + 2 + 3
    assert told == [(done, total) for done in range(1, total + 1)]


def test_nothing_is_timed_behind_a_shut_gate(monkeypatch):
    def shut(_pairs, _head_dim):
        raise QKVError("wrong", remedy="mend")

    def never(*_args, **_kwargs):
        raise AssertionError("timed")

    monkeypatch.setattr(study_module, "require_agreement", shut)
    monkeypatch.setattr(study_module, "CostMeasurer", never)
    with pytest.raises(QKVError, match="wrong"):
        study_linear_attention([16], long=0)


def test_a_budget_for_nothing_is_an_error():
    with pytest.raises(StudyError, match=r"nothing fits .* 1,048,576 tokens needs .* GiB"):
        study_linear_attention([2**20], max_memory_mib=64, long=0, head_dim=64)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"head_dim": 0}, "--head-dim is 0"),
        ({"head_dim": 5000}, "--head-dim is 5000"),
        ({"long": -1}, "--long is -1"),
        ({"long": 10}, "--long is 10"),
        ({"max_seconds": 0}, "--max-seconds is 0"),
        ({"max_memory_mib": 0}, "--max-memory-mib is 0"),
    ],
)
def test_settings_are_checked_before_the_work(monkeypatch, settings, problem):
    monkeypatch.setattr(study_module, "require_agreement", None)
    with pytest.raises(StudyError, match=problem):
        study_linear_attention([16], **settings)


def row(kernel, tokens, *, work="forward", ratio=1.0, extra=1000, skipped=None):
    measured = skipped is None
    return {
        "kernel": kernel,
        "work": work,
        "tokens": tokens,
        "milliseconds": 1.0 if measured else None,
        "quartiles_ms": [1.0] * 3 if measured else None,
        "rounds": 3 if measured else None,
        "calls_per_sample": 1 if measured else None,
        "times_linear": ratio if measured else None,
        "extra_bytes": extra if measured else None,
        "peak_bytes": extra if measured else None,
        "skipped": skipped,
    }


def rows(tokens, ratios, **more):
    return [
        row(name, tokens, work=work, ratio=ratios.get(name, 1.0), **more)
        for work in WORKS
        for name in KERNELS
    ]


def crossing(against, tokens, slower_at, *, refined=True):
    return {
        "against": against,
        "tokens": tokens,
        "slower_at": slower_at,
        "refined": refined,
        "ratios": [],
    }


def test_the_verdict_says_where_it_pays_and_where_not():
    said = report(
        rows(4096, {"plain": 80.4, "fused": 21.2}), [], [], [crossing("fused", 240, 224)], SETTINGS
    )["verdict"]
    assert "At 4,096 tokens linear attention is 80× as fast as plain softmax attention" in said
    assert "21× as fast as fused softmax attention (21× with the backward pass)" in said
    assert "from 240 tokens on; below that it does not" in said
    assert "still at 224" in said


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (crossing("fused", None, 128), "does not pay at 128 tokens"),
        (crossing("fused", 64, None), "from 64 tokens on, the fewest compared, or from fewer"),
    ],
)
def test_the_verdict_claims_no_crossing_that_was_not_seen(found, words):
    assert words in report(rows(128, {"fused": 0.5}), [], [], [found], SETTINGS)["verdict"]


def test_what_was_skipped_is_in_table_and_notes():
    cells = rows(4096, {"plain": 80.0})
    cells[0] = row("plain", 4096, skipped="needs 16 GiB")
    told = report(cells, [], [], [crossing("fused", 512, 256, refined=False)], SETTINGS)
    assert told["table"]["rows"][0][1] == "skipped"
    assert told["table"]["rows"][0][5] == "needs 16 GiB"
    notes = " ".join(told["notes"])
    assert "Skipped, by prediction: plain softmax, forward, 4,096 tokens (needs 16 GiB)." in notes
    assert "fused softmax was not bisected" in notes
    assert "forward_vs_plain" not in told["figures"]
    assert told["figures"]["train_vs_plain_tokens"] == 4096


def test_the_backward_pass_may_end_at_a_shorter_length():
    cells = rows(2048, {"fused": 5.0}) + [
        row(
            "fused",
            4096,
            work=work,
            ratio=9.0,
            skipped="needs 9 s" if work == "train" else None,
        )
        for work in WORKS
    ]
    cells += [row(name, 4096, work=w) for name in KERNELS for w in WORKS if name != "fused"]
    said = report(cells, [], [], [], SETTINGS)["verdict"]
    assert "At 4,096 tokens linear attention is 9× as fast as fused softmax attention " in said
    assert "(5× with the backward pass, at 2,048 tokens)" in said


@pytest.mark.parametrize(("linear", "saves"), [(5000, True), (500, False)])
def test_memory_beside_the_fused_kernel_is_told_as_it_is(linear, saves):
    cells = [row("fused", 4096), row("linear", 4096, extra=linear)]
    cells += [row(name, 4096) for name in ("plain", "causal_linear")]
    cells += [row(name, 4096, work="train") for name in KERNELS]
    notes = " ".join(report(cells, [], [], [], SETTINGS)["notes"])
    assert ("saves no memory" in notes) is saves


def test_a_great_length_tells_what_a_token_costs():
    long = [row(name, 10**6, extra=4 * 10**6) for name in ("linear", "causal_linear")]
    told = report(rows(64, {}), long, [], [], SETTINGS)
    table = told["tables"][-1]
    assert table["rows"][0] == ["linear", 10**6, 1.0, 1.0, 4e6 / 2**20, 4.0]
    assert any("Plain softmax would hold 7.28 TiB" in note for note in told["notes"])
    long[0] = row("linear", 10**6, skipped="needs 3 GiB")
    told = report(rows(64, {}), long, [], [], SETTINGS)
    assert told["tables"][-1]["rows"][0] == [
        *("linear", 10**6, "skipped", None, "needs 3 GiB", None)
    ]
