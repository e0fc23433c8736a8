"""`qkv bench`: the list of cases, and a case's document in its three forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import benchmarks

Call = Callable[..., Any]
DOCUMENT = {
    "case": "vit-step",
    "ratios": {"same_settings": 2.0512, "fast_recipe": 8.0},
    "figures": {"us_per_image": {"qkv": 6401.5}, "rounds": 3, "quartiles": [1.0, 2.0]},
    "machine": {"cores": 2},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Which case was run, and whether quickly; none is measured."""
    calls: list[tuple[str, bool]] = []

    def run(name: str, *, quick: bool, progress: Callable[[int, int], None]) -> Any:
        calls.append((name, quick))
        progress(1, 2)
        return DOCUMENT

    monkeypatch.setattr(benchmarks, "run", run)
    return calls


def test_without_a_name_the_cases_are_listed(qkv: Call) -> None:
    outcome = qkv("bench")
    assert outcome.code == 0
    for name, summary in benchmarks.CASES.items():
        assert f"{name} " in outcome.out
        assert summary in outcome.out
    assert set(qkv("bench", "--json").json["cases"]) == set(benchmarks.CASES)


def test_json_is_the_document_and_out_keeps_it(
    qkv: Call, asked: list[tuple[str, bool]], tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    outcome = qkv("bench", "vit-step", "--json", "--quick", "--out", out)
    assert outcome.json == DOCUMENT
    assert json.loads(out.read_text()) == DOCUMENT
    assert asked == [("vit-step", True)]


def test_table_shows_ratios_figures_and_machine(qkv: Call, asked: list[tuple[str, bool]]) -> None:
    outcome = qkv("bench", "vit-step")
    assert asked == [("vit-step", False)]
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["same_settings", "2.05"] in lines
    assert ["us_per_image.qkv", "6,402"] in lines or ["us_per_image.qkv", "6,401"] in lines
    assert ["quartiles", "1", "2"] in lines
    assert "machine: cores 2" in outcome.out


def test_an_unknown_case_gets_the_nearest_name(qkv: Call) -> None:
    outcome = qkv("bench", "vit-stp")
    assert (outcome.code, outcome.out) == (2, "")
    assert "did you mean 'vit-step'?" in outcome.err


def test_without_the_source_tree_it_says_where_to_get_it(
    qkv: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed = tmp_path / "site-packages" / "qkv" / "cli" / "bench.py"
    monkeypatch.setattr("qkv.cli.bench.__file__", str(installed))
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("raise SystemExit('not to be trusted')")
    monkeypatch.chdir(tmp_path)
    outcome = qkv("bench")
    assert (outcome.code, outcome.out) == (2, "")
    assert "git clone" in outcome.err
