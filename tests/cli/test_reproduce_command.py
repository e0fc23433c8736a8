"""`qkv reproduce s4` beside the printed figures; the training itself is stood in for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qkv import experiment
from qkv.runs import Run
from qkv.training.recipe import load_recipe

Call = Callable[..., Any]


def _finish(path: Path, *, status: str = "finished", recipe: str = "reference") -> Run:
    """A run folder as the reference recipe leaves it."""
    epochs = [
        {"epoch": number, "test_loss": 0.5 / number, "test_accuracy": (80 + number) / 100}
        for number in range(1, 6)
    ]
    record = {
        "status": status,
        "recipe": load_recipe("fashion-mnist", recipe).model_dump(mode="json"),
        "seed": 42,
        "parameters": 598_794,
        "train_seconds": 380.5,
        "machine": {"processor": "a processor", "threads": 2, "device": "cpu"},
        "epochs": epochs,
        "test": {"accuracy": 0.85, "accuracy_interval_95": [0.843, 0.857]},
    }
    return Run.create(path, config={}, record=record)


def test_a_finished_run_is_compared_without_training(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _finish(tmp_path / "runs/s4")
    outcome = qkv("reproduce", "s4", "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json
    printed, ours = document["printed"], document["ours"]
    assert [epoch["test_loss"] for epoch in printed["epochs"]] == [
        0.5273,
        0.4427,
        0.4175,
        0.4178,
        0.4049,
    ]
    assert [round(100 * epoch["test_accuracy"], 2) for epoch in printed["epochs"]] == [
        80.13,
        83.58,
        84.41,
        84.73,
        84.97,
    ]
    assert (printed["parameters"], printed["train_seconds"]) == (598_794, 1051.84)
    assert [epoch["epoch"] for epoch in ours["epochs"]] == [1, 2, 3, 4, 5]
    assert ours["epochs"][4] == {"epoch": 5, "test_loss": 0.1, "test_accuracy": 0.85}
    assert (ours["seed"], ours["test_accuracy"]) == (42, 0.85)
    assert document["run"] == "runs/s4"

    table = qkv("reproduce", "s4")
    lines = [line.split() for line in table.out.splitlines()]
    assert ["5", "0.4049", "0.1000", "84.97", "%", "85.00", "%"] in lines
    assert ["parameters", "598,794", "598,794"] in lines
    assert ["seconds", "1,051.84", "380.50"] in lines
    assert "seed 42, on a processor" in table.out


def test_a_new_run_is_trained_by_the_reference_recipe(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def train(recipe: Any, *, out: Path, data: Path | None, reporter: Any) -> Run:
        asked.extend([recipe, out, data])
        return _finish(out)

    monkeypatch.setattr(experiment, "train", train)
    (tmp_path / "run").mkdir()
    outcome = qkv("reproduce", "s4", "--out", tmp_path / "run", "--data", tmp_path / "data")
    assert outcome.code == 0, outcome.err
    reference = load_recipe("fashion-mnist", "reference")
    assert asked == [reference, tmp_path / "run", tmp_path / "data"]
    assert reference.training.test_each_epoch


def test_a_stopped_run_is_gone_on_with(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _finish(tmp_path / "run", status="interrupted")
    asked: list[Any] = []

    def resume(path: Path, *, data: Path | None, reporter: Any) -> Run:
        asked.append(path)
        return run

    monkeypatch.setattr(experiment, "resume", resume)
    assert qkv("reproduce", "s4", "--out", run.path).code == 0
    assert asked == [run.path]


def test_a_run_of_another_recipe_is_refused(qkv: Call, tmp_path: Path) -> None:
    _finish(tmp_path / "run", recipe="fast")
    outcome = qkv("reproduce", "s4", "--out", tmp_path / "run")
    assert (outcome.code, outcome.out) == (2, "")
    assert "holds a run of another recipe" in outcome.err


def test_other_folders_and_studies_are_refused(qkv: Call, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "is not a run folder" in qkv("reproduce", "s4", "--out", tmp_path).err
    outcome = qkv("reproduce", "s5")
    assert outcome.code == 2
    assert "no study 's5'; did you mean 's4'?" in outcome.err
