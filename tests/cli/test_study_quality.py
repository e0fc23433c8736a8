"""`qkv study quality`: trained on a few made-up images, printed, written, gone on with, refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qkv.data import fashion_mnist
from qkv.training import train as experiment
from small_fashion_mnist import write_small

Call = Callable[..., Any]
FILES = ["study.json", "quality.png", "quality.svg"]
SETTINGS = (
    "model.dim=8", "model.depth=1", "model.num_heads=2", "model.head_dim=4", "model.mlp_dim=16",
    "model.stem=linear", "training.batch_size=10", "training.warmup_steps=0",
    "training.precision=float32", "training.device=cpu",
)  # fmt: skip
TINY = tuple(word for setting in SETTINGS for word in ("--set", setting))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fashion_mnist, "load", write_small(folder))
        patch.setattr(experiment, "draw_figures", lambda _: [])
        yield folder


@pytest.fixture
def command(data: Path, tmp_path: Path) -> tuple[Any, ...]:
    place = ("--data", data, "--out", tmp_path / "out")
    return ("study", "quality", *place, "--patch-sizes", "14", "--epochs", "1", *TINY)


def test_table_verdict_and_files(qkv: Call, command: tuple[Any, ...], tmp_path: Path) -> None:
    outcome = qkv(*command)
    assert outcome.code == 0, outcome.err
    lines = [line.split() for line in outcome.out.splitlines()]
    assert any(line[:3] == ["softmax", "14", "5"] for line in lines)
    assert any(line[:3] == ["linear", "14", "5"] for line in lines)
    assert "At 5 tokens (patch 14) linear attention is " in outcome.out
    assert "machine: " in outcome.out
    heard = outcome.err.splitlines()
    assert heard[0] == "arm 1 of 2: softmax, patch 14 (5 tokens), seed 42"
    assert "arm 2 of 2: linear, patch 14 (5 tokens), seed 42" in heard
    assert sum(line.startswith("epoch 1  train loss") for line in heard) == 2
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES, "runs"])
    assert (out / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_what_is_saved_and_what_is_read_back(
    qkv: Call, command: tuple[Any, ...], tmp_path: Path
) -> None:
    first = qkv(*command, "--json")
    assert first.code == 0, first.err
    assert first.json == json.loads((tmp_path / "out" / "study.json").read_text(encoding="utf-8"))
    assert first.json["settings"]["overrides"] == list(SETTINGS)
    again = qkv(*command, "--json")
    assert again.json == first.json
    assert "epoch 1" not in again.err  # nothing was trained


def test_seeds_and_training_images_reach_the_trainings(qkv: Call, command: tuple[Any, ...]) -> None:
    outcome = qkv(*command, "--seeds", "2", "--train-images", "40", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["settings"]["seeds"] == [42, 43]
    assert outcome.json["settings"]["train_images"] == 40


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--patch-sizes", "3"), "--patch-sizes: '3' does not divide the images' side, 28"),
        (("--epochs", "0"), "--epochs is 0"),
        (("--seeds", "0"), "--seeds is 0"),
        (("--train-images", "95"), "leaves too few to validate on"),
        (("--set", "model.attention=linear"), "--set model.attention is set by the study itself"),
        (("--set", "model.depht=2"), "did you mean 'depth'"),
        (("--set", "model.depth"), "is not key=value"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_line(
    qkv: Call, command: tuple[Any, ...], tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    outcome = qkv(*command, *more)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("qkv: error: ")
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_settings_in_the_same_folder(qkv: Call, command: tuple[Any, ...]) -> None:
    assert qkv(*command).code == 0
    outcome = qkv(*command, "--epochs", "2")
    assert (outcome.code, outcome.out) == (2, "")
    assert "training.epochs = 1, and now it is to be 2" in outcome.err
    assert "choose another --out" in outcome.err


def test_a_place_that_cannot_be_written(
    qkv: Call, command: tuple[Any, ...], tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    outcome = qkv(*command)
    assert outcome.code == 2
    assert "is not a folder; choose another --out" in outcome.err
