"""`qkv study`: the list of studies, and the two that compute without measuring time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qkv.studies.registry import STUDIES

Call = Callable[..., Any]


def test_without_a_name_the_studies_are_listed(qkv: Call) -> None:
    outcome = qkv("study")
    assert outcome.code == 0
    for name, summary in STUDIES.items():
        assert f"{name} " in outcome.out
        assert summary in outcome.out
    assert set(qkv("study", "--json").json["studies"]) == set(STUDIES)


def test_an_unknown_study_is_one_line(qkv: Call) -> None:
    outcome = qkv("study", "copyin")
    assert (outcome.code, outcome.out) == (2, "")
    assert "Did you mean 'copying'?" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("name", ["recurrence", "copying"])
def test_json_is_what_is_saved(qkv: Call, tmp_path: Path, name: str) -> None:
    outcome = qkv("study", name, "--out", tmp_path / "new" / "folder", "--json")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "new" / "folder"
    assert outcome.json == json.loads((folder / "study.json").read_text(encoding="utf-8"))
    assert outcome.json["study"] == name
    files = ["study.json", f"{name}.png", f"{name}.svg"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    assert outcome.err.splitlines() == [f"written: {folder / file}" for file in files]
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (folder / f"{name}.svg").read_bytes()


def test_the_folder_is_studies_and_the_name(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert qkv("study", "recurrence").code == 0
    assert (tmp_path / "studies" / "recurrence" / "study.json").is_file()


def test_recurrence_prints_steps_closed_form_and_verdict(qkv: Call, tmp_path: Path) -> None:
    outcome = qkv("study", "recurrence", "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["5", "odd", "5", "−5", "10", "−", "−5"] in lines
    assert ["Σ", "(−1)^k", "x_k", "k", "=", "1..2n", "=", "6", "−1", "0", "yes"] in lines
    text = " ".join(outcome.out.split())
    assert "the even positions sum to 11, which is smaller than the 12 of the odd" in text
    assert "Where the exercise errs" in text


@pytest.mark.parametrize(
    ("sequence", "total", "output"),
    [
        ("--sequence=-3,2", 5, 1.0),
        ("--sequence=7 7", 0, 0.5),
        (f"--sequence={10**400},1", 1 - 10**400, 0.0),
    ],
)
def test_sequences_of_any_sign_and_size(
    qkv: Call, tmp_path: Path, sequence: str, total: int, output: float
) -> None:
    figures = qkv("study", "recurrence", sequence, "--out", tmp_path, "--json").json["figures"]
    assert (figures["h_T"], figures["output"]) == (total, output)


def test_a_long_table_shows_its_beginning_and_end(qkv: Call, tmp_path: Path) -> None:
    sequence = ",".join(map(str, range(1, 201)))
    lines = qkv("study", "recurrence", "--sequence", sequence, "--out", tmp_path).out.splitlines()
    rows = [int(line.split()[0]) for line in lines if "even  " in line or "odd  " in line]
    assert rows == [*range(1, 41), *range(193, 201)]
    assert sum(set(line.split()) == {"…"} for line in lines) == 1
    saved = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert len(saved["table"]["rows"]) == 200


def test_copying_prints_the_law_and_the_errata(qkv: Call, tmp_path: Path) -> None:
    outcome = qkv("study", "copying", "--beta", "2,30", "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines()]
    leaked = 2 / (math.exp(4) + 2)
    second = next(row for row in rows if row[:2] == ["2", "x2"])
    assert second[2] == f"{leaked:.4g}"
    # ‖y2 − x2‖ = β √10 q / (1 + 2q), measured, exact and by subtracting
    distance = 2 * math.sqrt(10) * math.exp(-4) / (1 + 2 * math.exp(-4))
    assert second[3:6] == [f"{distance:.4g}"] * 3
    assert any("1.36e-391" in row for row in rows)
    assert "Where the exercise's text errs" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 120


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("recurrence", "--sequence", "3,1,4"), "odd"),
        (("recurrence", "--sequence", "3,x"), "entry 2 is 'x', not an integer"),
        (("recurrence", "--sequence", ""), "--sequence is empty"),
        (("copying", "--beta=-1"), "'-1' is not a norm"),
        (("copying", "--beta", "0"), "'0' is not a norm"),
        (("copying", "--beta", "1,nan"), "'nan' is not a norm"),
        (("copying", "--beta", "text"), "'text' is not a norm"),
        (("copying", "--beta", ""), "--beta is empty"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    qkv: Call, tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    outcome = qkv("study", *arguments, "--out", tmp_path / "out")
    assert (outcome.code, outcome.out) == (2, "")
    assert problem in outcome.err
    assert outcome.err.startswith("qkv: error: ")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(qkv: Call, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    outcome = qkv("study", "copying", "--out", tmp_path / "out")
    assert (outcome.code, outcome.out) == (2, "")
    assert "is not a folder; choose another --out" in outcome.err
    assert (tmp_path / "out").read_text() == "mine"
