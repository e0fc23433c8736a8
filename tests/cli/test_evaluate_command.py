"""`qkv evaluate`: the same figures as in run.json, on other data too, and its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


def test_json_repeats_what_the_run_recorded(qkv: Call, run: Path) -> None:
    outcome = qkv("evaluate", run, "--json")
    assert outcome.code == 0, outcome.err
    recorded = json.loads((run / "run.json").read_text())["test"]
    assert set(outcome.json) == set(recorded) - {"parameters", "train_seconds", "seed"}
    assert outcome.json["confusion_matrix"] == recorded["confusion_matrix"]
    assert outcome.json["loss"] == pytest.approx(recorded["loss"], abs=1e-5)


def test_tables_name_every_class_as_it_is_written(qkv: Call, run: Path) -> None:
    outcome = qkv("evaluate", run)
    assert outcome.code == 0
    for words in ("accuracy", "95 % interval", "loss", "precision", "Confusion", "Reliability"):
        assert words in outcome.out
    for name in ("[red]", "blue", "green leaf"):
        assert outcome.out.count(name) == 2  # by class, and in the confusion matrix


def test_many_classes_list_their_largest_confusions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from qkv.cli.run_output import print_evaluation

    names = [f"class {number}" for number in range(13)]
    matrix = [[0] * 13 for _ in names]
    matrix[3][5], matrix[4][4] = 17, 99
    row = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 9}
    print_evaluation(
        {
            "accuracy": 0.5,
            "accuracy_interval_95": [0.4, 0.6],
            "loss": 1.0,
            "examples": 116,
            "per_class": dict.fromkeys(names, row),
            "confusion_matrix": matrix,
            "calibration": {"expected_calibration_error": 0.1, "brier": 0.5, "bins": []},
        }
    )
    printed = capsys.readouterr().out
    below = printed.partition("Most frequent confusions")[2].split("Reliability")[0]
    assert below.split() == ["truth", "prediction", "images", "class", "3", "class", "5", "17"]


def test_another_folder_is_evaluated_under_the_same_classes(
    qkv: Call, run: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_photos(tmp_path / "others", names=("blue", "green leaf"), count=5)
    outcome = qkv("evaluate", run, "--data", folder, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["examples"] == 10
    assert outcome.json["per_class"]["[red]"]["support"] == 0

    (folder / "blue/bad.png").write_bytes(b"bad")
    refused = qkv("evaluate", run, "--data", folder)
    assert refused.code == 2
    assert "  blue/bad.png: " in refused.err
    assert qkv("evaluate", run, "--data", folder, "--skip-bad", "--json").json["examples"] == 10

    make_photos(folder, names=("unheard of",), count=1)
    unknown = qkv("evaluate", run, "--data", folder)
    assert unknown.code == 2
    assert "class 'unheard of'" in unknown.err


@pytest.mark.parametrize("command", [["evaluate"], ["predict"]])
def test_what_is_no_run_is_refused(
    qkv: Call, command: list[str], photos: Path, tmp_path: Path
) -> None:
    inputs = [photos] if command == ["predict"] else []
    for place in (tmp_path, tmp_path / "nowhere"):
        outcome = qkv(*command, place, *inputs)
        assert outcome.code == 2
        assert f"qkv: error: {place} is not a run folder" in outcome.err
        assert outcome.out == ""


@pytest.mark.parametrize("place", ["middle", "end", "cut"])
def test_damaged_weights_are_noticed(qkv: Call, run_copy: Path, photos: Path, place: str) -> None:
    weights = run_copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    if place == "cut":
        del content[-100:]
    else:
        content[len(content) // 2 if place == "middle" else -1] ^= 1
    weights.write_bytes(content)
    for command in (["evaluate", run_copy], ["predict", run_copy, photos]):
        outcome = qkv(*command)
        assert outcome.code == 2
        assert f"{weights} is damaged" in outcome.err
        assert outcome.err.count("\n") == 1
