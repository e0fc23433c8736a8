"""`qkv train`, from images of every format to a finished run, and its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
Tiny = tuple[str, ...]


def test_train_prints_one_document_and_keeps_progress_off_standard_output(
    trained: Any, run: Path
) -> None:
    document = trained.json
    assert set(document) == {"run", "test", "figures", "seed", "parameters", "train_seconds"}
    assert document["seed"] == 7
    assert set(document["test"]["per_class"]) == {"[red]", "blue", "green leaf"}
    assert {"accuracy", "loss", "examples", "calibration"} <= set(document["test"])
    assert document["figures"]
    assert all(Path(figure).is_file() for figure in document["figures"])
    assert "estimate: " in trained.err
    assert "epoch 1  train loss" in trained.err
    assert "step 2/" in trained.err
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["recipe"]["model"]["dim"] == 8
    assert record["test"] == document["test"]


def test_a_finished_run_resumed_says_so_and_prints_its_summary(qkv: Call, run: Path) -> None:
    outcome = qkv("train", "--resume", run)
    assert outcome.code == 0
    assert "is finished already" in outcome.err
    for words in ("test accuracy", "95 % interval", "training time", "parameters", str(run)):
        assert words in outcome.out
    assert f"evaluate {run}" in outcome.out
    assert f"predict {run} IMAGE" in outcome.out
    assert f"explain {run} IMAGE" in outcome.out
    assert f"serve {run}\n" in outcome.out
    assert "data inspect" in outcome.out
    assert "confusion" in outcome.out


def test_bad_files_are_all_listed_and_can_be_skipped(
    qkv: Call,
    make_photos: Callable[..., Path],
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_photos(tmp_path / "photos", count=6)
    bad = [f"blue/bad-{number}.png" for number in range(5)]
    for name in bad:
        (folder / name).write_bytes(b"not an image")
    arguments = ("train", "vision", "--data", folder, *tiny)

    refused = qkv(*arguments)
    assert refused.code == 2
    first, *listed = refused.err.splitlines()
    assert first.startswith("qkv: error: 5 of 23 files")
    assert "--skip-bad" in first
    assert [line.split(": ")[0] for line in listed] == [f"  {name}" for name in bad]
    assert not (tmp_path / "runs").exists()

    taken = qkv(*arguments, "--skip-bad")
    assert taken.code == 0, taken.err
    assert "left out       5 files" in taken.out
    assert "evaluate runs/photos" in taken.out
    record = json.loads((tmp_path / "runs/photos/run.json").read_text())
    assert [item["path"] for item in record["data"]["skipped"]] == bad
    assert all(item["reason"] for item in record["data"]["skipped"])


def test_an_existing_run_folder_is_not_overwritten(
    qkv: Call, photos: Path, run: Path, tiny: Tiny
) -> None:
    before = (run / "model.safetensors").read_bytes()
    outcome = qkv("train", "vision", "--data", photos, "--out", run, *tiny)
    assert outcome.code == 2
    assert f"{run} exists already" in outcome.err
    assert f"--resume {run}" in outcome.err
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "takes one TASK, and it is missing"),
        (["train", "vision", "fashion-mnist"], "takes one TASK, and there are 2"),
        (["train", "fashion-mist"], "unknown task 'fashion-mist'; did you mean 'fashion-mnist'?"),
        (["train", "vision"], "no images were named; name a folder with --data FOLDER"),
        (["train", "vision", "--data", "nowhere"], "there is no folder nowhere"),
        (["train", "vision", "--recipe", "defualt"], "did you mean 'default'?"),
        (["train", "vision", "--recipe", "none.toml"], "cannot read recipe none.toml"),
        (["train", "vision", "--set", "model.dmi=8"], "unknown key 'model.dmi'; did you mean"),
        (["train", "vision", "--set", "model.dim=-8"], "model.dim"),
        (["train", "vision", "--set", "training.optimizer=sgd"], "training.optimizer"),
        (["train", "vision", "--seed", "-1"], "seed"),
        (["train", "vision", "--seed", "many"], "'--seed'"),
        (["train", "vision", "--ot", "run"], "No such option: --ot"),
        (["train", "--resume", "nowhere"], "nowhere is not a run folder"),
        (
            ["train", "vision", "--resume", "run", "--seed", "1", "--set", "a=1"],
            "takes no TASK, --seed, --set",
        ),
    ],
)
def test_a_mistake_in_the_command_is_one_line_and_exit_code_2(
    qkv: Call, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = qkv(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("qkv: error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_named_as_task_is_told_the_command(qkv: Call, photos: Path) -> None:
    outcome = qkv("train", photos)
    assert outcome.code == 2
    assert f"qkv train vision --data {photos}" in outcome.err


def _one_class(folder: Path, make: Callable[..., Path]) -> None:
    make(folder, names=("blue",), count=4)


def _one_image(folder: Path, make: Callable[..., Path]) -> None:
    make(folder, count=4)
    make(folder, names=("lonely",), count=1)


def _empty_class(folder: Path, make: Callable[..., Path]) -> None:
    make(folder, count=4)
    (folder / "void").mkdir()


def _leak(folder: Path, make: Callable[..., Path]) -> None:
    make(folder / "train", count=4)
    make(folder / "test", count=1)


def _no_class(folder: Path, make: Callable[..., Path]) -> None:
    folder.mkdir()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_one_class, "has a single class, 'blue'"),
        (_one_image, "class 'lonely' has 1 image, needs at least 3"),
        (_empty_class, "class folder 'void' is empty"),
        (_leak, "the same image lies in two splits: test/[red]/0.png = train/[red]/0.png"),
        (_no_class, "photos"),
    ],
)
def test_unfit_folders_are_refused_with_their_reason(
    qkv: Call,
    build: Callable[..., None],
    message: str,
    make_photos: Callable[..., Path],
    tiny: Tiny,
    tmp_path: Path,
) -> None:
    build(tmp_path / "photos", make_photos)
    outcome = qkv(
        "train", "vision", "--data", tmp_path / "photos", "--out", tmp_path / "run", *tiny
    )
    assert outcome.code == 2
    assert outcome.err.startswith("qkv: error: ")
    assert message in outcome.err
    assert not (tmp_path / "run").exists()
