"""The estimate: what it counts, and that it leaves the training alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from qkv.training import train as module
from qkv.training.train import estimate

CPU = torch.device("cpu")


def test_the_forecast_changes_nothing(bench: Any) -> None:
    settings = bench.settings()
    task = bench.task(settings)
    task.model.eval()
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    estimate(task, settings, CPU)
    after = task.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(p.grad is None for p in task.model.parameters())
    assert not task.model.training


def test_a_forecast_run_ends_like_one_without(bench: Any) -> None:
    with_forecast, without = bench.fit("one"), bench.fit("two")
    estimate(with_forecast._stepper.task, bench.settings(), CPU)
    with_forecast.train()
    without.train()
    one, two = bench.run("one").weights(), bench.run("two").weights()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_time_is_counted_by_example(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every look at the clock finds it two seconds later, so each step of 22 images takes two.
    ticks = iter(range(0, 1000, 2))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(ticks))
    settings = bench.settings(batch_size=22, epochs=3)
    expected = estimate(bench.task(settings), settings, CPU)
    # 22 training images and a third of the work for 9 validation images, a pace of 2/22 seconds.
    assert expected.train_seconds == pytest.approx(3 * (22 + 9 / 3) * 2 / 22)
    assert expected.total_steps == 3
    tested = bench.settings(batch_size=22, epochs=3, test_each_epoch=True)
    with_test = estimate(bench.task(tested), tested, CPU)
    assert with_test.train_seconds == pytest.approx(3 * (22 + 18 / 3) * 2 / 22)


def test_more_steps_than_batches(bench: Any) -> None:
    settings = bench.settings(batch_size=100, epochs=1)
    assert estimate(bench.task(settings), settings, CPU).total_steps == 1


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_disk_forecast_covers_the_run(bench: Any, ema_decay: float) -> None:
    training = {"ema_decay": ema_decay, "checkpoint_every_seconds": 0.0}
    settings = bench.settings(**training)
    expected = estimate(bench.task(settings, mlp_dim=4096), settings, CPU)
    room = expected.disk_bytes - module.FIXED_DISK_BYTES
    fit = bench.fit("x", task_options={"mlp_dim": 4096}, **training)
    fit.train()
    position = (bench.folder / "x" / "resume" / "position.safetensors").stat().st_size
    weights = (bench.folder / "x" / "model.safetensors").stat().st_size
    # While the position is replaced it is there twice.
    assert 2 * position + weights < room * 1.02 + 4096 * 4
    assert room < 3 * (2 * position + weights)


def test_a_forecast_is_plain_json(bench: Any) -> None:
    settings = bench.settings()
    facts = vars(estimate(bench.task(settings), settings, CPU))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["memory_bytes"] is None or facts["memory_bytes"] > 10 * 2**20
