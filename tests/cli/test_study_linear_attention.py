"""`qkv study linear-attention`: a real run at lengths that take no time, and mistakes."""

from __future__ import annotations

import pytest

from qkv.studies import linear_attention as study_module

SMALL = ("--lengths", "16..64", "--head-dim", "8", "--long", "1024")
FILES = {"study.json", "linear-attention.png", "linear-attention.svg"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    from functools import partial

    from qkv.studies import attention_costs

    short = partial(attention_costs.sampled, least_seconds=0.0)
    monkeypatch.setattr(attention_costs, "sampled", short)
    monkeypatch.setattr(attention_costs, "ROUNDS", 3)


def test_it_prints_tables_and_writes_its_folder(qkv, tmp_path):
    done = qkv("study", "linear-attention", *SMALL, "--out", tmp_path / "study")
    assert done.code == 0, done.err
    for words in (
        "Forward: one head of 8",
        "Forward + backward",
        "linear (ms)",
        "causal (MiB)",
        "Growth",
        "as fast as plain softmax attention",
        "Nothing was skipped.",
        "threads 1",
    ):
        assert words in done.out
    assert {path.name for path in (tmp_path / "study").iterdir()} == FILES
    assert all(path.stat().st_size > 1000 for path in (tmp_path / "study").iterdir())


def test_json_is_one_document(qkv, tmp_path):
    done = qkv(
        *("study", "linear-attention", "--lengths", "9,50", "--long", "0", "--json"),
        *("--head-dim", "5", "--max-seconds", "60", "--max-memory-mib", "100"),
        *("--out", tmp_path),
    )
    assert done.code == 0, done.err
    document = done.json
    assert document["study"] == "linear-attention"
    assert document["settings"]["lengths"] == [9, 50]
    assert document["settings"]["head_dim"] == 5
    assert document["budget"]["max_seconds"] == 60
    assert document["long"] == []
    assert len(document["measurements"]) == 2 * 2 * 4


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (("--lengths", "0"), "0 tokens"),
        (("--lengths", "many"), "'many' is not a number of tokens"),
        (("--lengths", "128,64"), "64 comes after 128"),
        (("--lengths", "512..64"), "512 is more than 64"),
        (("--lengths", ""), "is empty"),
        (("--lengths", "64", "--head-dim", "0"), "--head-dim is 0"),
        (("--lengths", "64", "--long", "7"), "--long is 7"),
        (("--lengths", "64", "--max-seconds", "nan"), "--max-seconds is nan"),
        (("--lengths", "64", "--max-memory-mib", "0"), "--max-memory-mib is 0"),
    ],
)
def test_a_mistake_is_one_line(qkv, tmp_path, settings, problem):
    done = qkv("study", "linear-attention", *settings, "--out", tmp_path / "study")
    assert done.code == 2
    assert done.out == ""
    assert problem in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "study").exists()


def test_ctrl_c_leaves_nothing(qkv, tmp_path, monkeypatch):
    def stop(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(study_module.CostMeasurer, "measure", stop)
    done = qkv("study", "linear-attention", *SMALL, "--out", tmp_path / "study")
    assert done.code == 130
    assert done.out == ""
    assert done.err.splitlines()[-1] == "qkv: stopped"
    assert not (tmp_path / "study").exists()
