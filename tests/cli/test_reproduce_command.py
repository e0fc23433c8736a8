"""`qkv reproduce` beside the reported figures; the training itself is stood in for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qkv.runs import Run
from qkv.training import train as experiment
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

    (tmp_path / "runs/s4").rename(tmp_path / "runs/fashion-mnist-reference")
    table = qkv("reproduce", "fashion-mnist")
    lines = [line.split() for line in table.out.splitlines()]
    assert ["5", "0.4049", "0.1000", "84.97", "%", "85.00", "%"] in lines
    assert ["parameters", "598,794", "598,794"] in lines
    assert ["seconds", "1,051.84", "380.50"] in lines
    assert "seed 42, on a processor" in table.out


def _finish_s5(path: Path, *, encoder: str = "all-MiniLM-L6-v2", overrides: Any = ()) -> Run:
    """A run folder as the reference recipe of imdb leaves it, with half the epochs."""
    record = {
        "status": "finished",
        "recipe": load_recipe("imdb", "reference", overrides).model_dump(mode="json"),
        "seed": 1234,
        "parameters": 2_166_273,
        "encoder_parameters": 22_565_376,
        "train_seconds": 700.25,
        "machine": {"processor": "a processor", "threads": 2, "device": "cpu"},
        "epochs": [
            {
                "epoch": 1,
                "step": 137,
                "train_loss": 0.5,
                "train_accuracy": 0.75,
                "validation_loss": 0.4,
                "validation_accuracy": 0.8,
                "seconds": 350.5,
            }
        ],
        "test": {"accuracy": 0.87, "accuracy_interval_95": [0.866, 0.874], "loss": 0.31},
    }
    config = {"encoder": {"identity": {"name": encoder, "weights_sha256": "0" * 64}}}
    return Run.create(path, config=config, record=record)


def test_s5_prints_splits_sizes_and_the_encoder_used(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _finish_s5(tmp_path / "runs/s5")
    outcome = qkv("reproduce", "s5", "--json")
    assert outcome.code == 0, outcome.err
    printed, ours = outcome.json["printed"], outcome.json["ours"]
    assert printed["epochs"] == [
        {
            "epoch": 1,
            "train_loss": 0.480,
            "train_accuracy": 0.76,
            "validation_loss": 0.274,
            "validation_accuracy": 0.8924,
            "seconds": 768,
        },
        {
            "epoch": 2,
            "train_loss": 0.270,
            "train_accuracy": 0.892,
            "validation_loss": 0.244,
            "validation_accuracy": 0.9051,
            "seconds": 772,
        },
    ]
    assert (printed["test_loss"], printed["test_accuracy"]) == (0.236, 0.9038)
    assert (printed["parameters"], printed["trainable_parameters"]) == (112_241_409, 2_759_169)
    assert (ours["parameters"], ours["trainable_parameters"]) == (24_731_649, 2_166_273)
    assert ours["encoder"]["name"] == "all-MiniLM-L6-v2"
    assert set(printed) <= set(ours)

    table = qkv("reproduce", "s5").out
    lines = [line.split() for line in table.splitlines()]
    assert ["1", "0.4800", "0.5000", "76.00", "%", "75.00", "%"] in lines
    assert ["1", "0.2740", "0.4000", "89.24", "%", "80.00", "%"] in lines
    assert ["2", "0.2440", "-", "90.51", "%", "-"] in lines  # ours has one epoch
    assert ["test", "0.2360", "0.3100", "90.38", "%", "87.00", "%"] in lines
    assert ["encoder", "bert-base-uncased", "all-MiniLM-L6-v2"] in lines
    assert ["parameters", "112,241,409", "24,731,649"] in lines
    assert ["trainable", "2,759,169", "2,166,273"] in lines
    assert ["seconds", "of", "epoch", "1", "768", "350.50"] in lines
    assert "our encoder is all-MiniLM-L6-v2, not bert-base-uncased, so the numbers" in table
    assert "padding reached the GRU" in table
    assert "reported: on a rented GPU" in table


def test_s5_with_the_printed_encoder_has_nothing_to_excuse(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def train(recipe: Any, *, out: Path, data: Path | None, reporter: Any) -> Run:
        asked.append(recipe)
        return _finish_s5(out, encoder="google-bert/bert-base-uncased")

    monkeypatch.setattr(experiment, "train", train)
    outcome = qkv(
        "reproduce", "s5", "--encoder", "bert-base-uncased", "--out", tmp_path / "run",
        "--set", "training.epochs=1", "training.device=cpu",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    changes = ["training.epochs=1", "training.device=cpu", "encoder.name=bert-base-uncased"]
    assert asked == [load_recipe("imdb", "reference", changes)]
    assert "our encoder is" not in outcome.out
    assert [line for line in outcome.out.splitlines() if line.startswith("changed: ")] == [
        f"changed: {change}" for change in changes
    ]


def test_a_run_of_another_encoder_is_another_recipe(qkv: Call, tmp_path: Path) -> None:
    _finish_s5(tmp_path / "run", overrides=["encoder.name=bert-base-uncased"])
    outcome = qkv("reproduce", "s5", "--out", tmp_path / "run")
    assert (outcome.code, outcome.out) == (2, "")
    assert "holds a run of another recipe (in encoder)" in outcome.err


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
    for arguments, message in (
        (("s6",), "no reported figures called 's6'; did you mean 's"),
        ((), "takes one NAME, and it is missing"),
        (("s4", "s5"), "takes one NAME, and there are 2: s4, s5"),
        (("s4", "--encoder", "bert-base-uncased"), "s4 has no encoder"),
        (("s4", "--set", "training.epoch=1"), "did you mean 'epochs'?"),
    ):
        outcome = qkv("reproduce", *arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("qkv: error: ")
        assert outcome.err.count("\n") == 1
        assert message in outcome.err
