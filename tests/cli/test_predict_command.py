"""`qkv predict`: tables, documents and files of answers, good and bad inputs mixed."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import qkv as library

Call = Callable[..., Any]
CLASSES = ["[red]", "blue", "green leaf"]


@pytest.fixture
def mixed(make_photos: Callable[..., Path], tmp_path: Path) -> Path:
    """Two good images, a bad one between them, and what must be passed over."""
    folder = make_photos(tmp_path / "mixed", names=("blue",), count=2)
    (folder / "blue/0b.png").write_bytes(b"bad")
    (folder / "blue/notes.txt").write_text("no image")
    (folder / "blue/.hidden.png").write_bytes(b"hidden")
    return folder


def test_json_has_an_entry_for_each_image_of_a_folder(qkv: Call, run: Path, photos: Path) -> None:
    outcome = qkv("predict", run, photos, "--json", "--batch-size", "5")
    assert outcome.code == 0, outcome.err
    entries = outcome.json["predictions"]
    expected = sorted(path for path in photos.rglob("*") if path.is_file())
    assert [entry["input"] for entry in entries] == [str(path) for path in expected]
    for entry in entries:
        assert set(entry) == {"input", "label", "probability", "probabilities"}
        assert list(entry["probabilities"]) == CLASSES
        assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert entry["probability"] == max(entry["probabilities"].values())
        assert entry["probabilities"][entry["label"]] == entry["probability"]


def test_python_gives_the_same_answers(qkv: Call, run: Path, photos: Path) -> None:
    path = photos / "blue/0.png"
    (entry,) = qkv("predict", run, path, "--json").json["predictions"]
    (answer,) = library.load(run).predict([path])
    assert entry["label"] == answer.label
    assert entry["probability"] == pytest.approx(answer.probability, abs=1e-6)


def test_table_shows_the_likeliest_classes(qkv: Call, run: Path, photos: Path) -> None:
    outcome = qkv("predict", run, photos / "blue", "--top-k", "2")
    head, *rows = outcome.out.splitlines()
    assert head.split() == ["input", "class", "probability", "class", "probability"]
    assert len(rows) == 12
    assert all(row.count(" %") == 2 for row in rows)


def test_bad_inputs_get_an_entry_and_exit_code_1(qkv: Call, run: Path, mixed: Path) -> None:
    missing = mixed / "missing.png"
    outcome = qkv("predict", run, mixed, missing, mixed / "blue/1.jpg", "--json")
    assert outcome.code == 1
    entries = outcome.json["predictions"]
    assert [Path(entry["input"]).name for entry in entries] == [
        "0.png",
        "0b.png",
        "1.jpg",
        "missing.png",
        "1.jpg",
    ]
    assert [set(entry) == {"input", "error"} for entry in entries] == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert "No such file" in entries[3]["error"]
    assert entries[2] == entries[4]
    assert outcome.err == "qkv: 2 of 5 inputs could not be read\n"

    table = qkv("predict", run, mixed)
    assert table.code == 1
    assert "error: " in table.out.splitlines()[2]


def test_only_inputs_that_are_not_there_are_a_mistake(qkv: Call, run: Path) -> None:
    outcome = qkv("predict", run, "no.png", "none.png")
    assert (outcome.code, outcome.out) == (2, "")
    assert "there is no no.png (and 1 more)" in outcome.err


def test_a_folder_without_images_is_a_mistake(qkv: Call, run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    outcome = qkv("predict", run, tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{tmp_path} holds no image" in outcome.err


def test_a_name_cannot_write_to_the_terminal(
    qkv: Call, run: Path, photos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "\x1b[31m.png"
    path.write_bytes((photos / "blue/0.png").read_bytes())
    assert "\x1b" not in qkv("predict", run, path).out
    assert qkv("predict", run, path, "--json").json["predictions"][0]["input"] == str(path)


def test_csv_has_a_row_for_each_input(qkv: Call, run: Path, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    out.write_text("old")
    outcome = qkv("predict", run, mixed, "--out", out)
    assert outcome.code == 1
    assert outcome.out == f"2 predictions in {out}\n"
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    shares = [f"probability_{name}" for name in CLASSES]
    assert list(rows[0]) == ["input", "label", "probability", "error", *shares]
    assert rows[0]["label"] in CLASSES
    assert sum(float(rows[0][name]) for name in shares) == pytest.approx(1, abs=1e-5)
    assert rows[1]["error"]
    assert rows[1]["label"] == rows[1]["probability_blue"] == ""
    assert list(tmp_path.glob(".answers*")) == []


def test_jsonl_has_the_entries_of_the_document(
    qkv: Call, run: Path, mixed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers.jsonl"
    outcome = qkv("predict", run, mixed, "--json", "--out", out)
    assert outcome.code == 1
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines == outcome.json["predictions"]


def test_parquet_has_typed_columns_over_several_groups(
    qkv: Call, run: Path, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qkv.cli.prediction_output.ROWS_IN_GROUP", 2)
    out = tmp_path / "answers.parquet"
    assert qkv("predict", run, mixed, "--out", out).code == 1
    table = pyarrow.parquet.read_table(out)
    assert table.column_names[:4] == ["input", "label", "probability", "error"]
    assert table.num_rows == 3
    assert table["probability"].null_count == 1
    assert table["error"].null_count == 2
    assert str(table.schema.field("probability_blue").type) == "double"


@pytest.mark.parametrize("name", ["answers.xlsx", "answers", "no/folder.csv", "folder.csv"])
def test_an_impossible_out_is_refused_before_any_work(
    qkv: Call, photos: Path, name: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    # The run is not there either: the file is looked at first.
    outcome = qkv("predict", tmp_path / "nowhere", photos, "--out", tmp_path / name)
    assert outcome.code == 2
    assert str(tmp_path / name) in outcome.err
    assert "nowhere" not in outcome.err


def test_parquet_without_its_extra_says_what_to_install(
    qkv: Call, run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name)
    )
    outcome = qkv("predict", run, photos, "--out", tmp_path / "answers.parquet")
    assert outcome.code == 2
    assert "pip install 'qkv[parquet]'" in outcome.err


def test_a_failure_on_the_way_leaves_the_old_file(tmp_path: Path) -> None:
    from qkv.cli.prediction_output import prediction_file
    from qkv.predictions import FailedInput

    out = tmp_path / "answers.csv"
    out.write_text("old")

    def fail() -> None:
        with prediction_file(out, CLASSES) as write:
            write(FailedInput("a.png", "is bad"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]
