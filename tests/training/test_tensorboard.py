"""Scalars beside the log, where the extra is there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from qkv.progress import Estimate, Reporter, with_tensorboard


class Heard(Reporter):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in {"note", "progress", "estimate", "step", "epoch"}:
            self.told.append(name)
        return super().__getattribute__(name)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_what_is_logged_is_also_drawn(bench: Any) -> None:
    heard = Heard()
    run = bench.run("x")
    with with_tensorboard(heard, run.path) as reporter:
        reporter.note("hello")
        reporter.progress("data", "files")(1, 2)
        reporter.estimate(Estimate(1.0, None, 1, 1))
        bench.fit("x", reporter=reporter, epochs=2, test_each_epoch=True).train()
    assert heard.told.count("step") == 10
    assert heard.told.count("epoch") == 2
    assert {"note", "progress", "estimate"} <= set(heard.told)
    drawn = scalars(run.path)
    logged = run.log()
    steps = [entry for entry in logged if entry["event"] == "step"]
    epochs = [entry for entry in logged if entry["event"] == "epoch"]
    for name in ("loss", "accuracy", "learning_rate", "examples_per_second"):
        expected = [(entry["step"], pytest.approx(entry[name], rel=1e-5)) for entry in steps]
        assert drawn[f"train/{name}"] == expected
    for name in ("train_loss", "train_accuracy", "validation_loss", "test_accuracy"):
        expected = [(entry["step"], pytest.approx(entry[name], rel=1e-5)) for entry in epochs]
        assert drawn[f"epoch/{name}"] == expected


def test_without_the_extra_the_reporter_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    heard = Heard()
    with with_tensorboard(heard, tmp_path) as reporter:
        assert reporter is heard
    assert list(tmp_path.iterdir()) == []
