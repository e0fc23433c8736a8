"""Stopped anywhere and resumed, a training ends as if it had never stopped: bit for bit."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qkv import runs
from qkv.errors import InterruptedRunError, RunError
from qkv.progress import Reporter, StepReport
from qkv.runs import Run
from qkv.training.loop import Fit, Predictions

TIMES = {"seconds", "examples_per_second"}
EVERYTHING: dict[str, Any] = {
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warmup_steps": 3,
    "ema_decay": 0.9,
    "max_gradient_norm": 0.5,
    "label_smoothing": 0.1,
    "class_weights": "auto",
    "keep": "best_loss",
    "task_options": {
        "dropout": 0.2,
        "augment": {"horizontal_flip": True, "shift_pixels": 1, "erase_probability": 0.5},
    },
}
PLAIN: dict[str, Any] = {"optimizer": "adam", "keep": "last", "task_options": {"dropout": 0.0}}
# Five steps an epoch, three epochs, a line in the log every two steps.
STOPS = [1, 4, 5, 6, 10, 14]


class StopAt(Reporter):
    """Interrupts the process after given steps, as Ctrl-C does."""

    def __init__(self, *steps: int) -> None:
        self._steps = steps

    def step(self, report: StepReport, *, logged: bool) -> None:
        if report.step in self._steps:
            os.kill(os.getpid(), signal.SIGINT)


def without_times(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k not in TIMES} for entry in entries]


def outcome(run: Run) -> dict[str, Any]:
    """All that two runs must have in common."""
    saved = run.position()
    assert saved is not None
    tensors, facts = saved
    return {
        "weights": hashes(run.weights()),
        "position": hashes(tensors),
        "epochs": without_times(run.record()["epochs"]),
        "facts": {k: v for k, v in facts.items() if k in ("step", "best", "best_epoch", "batch")},
        "log": without_times(run.log()),
    }


def hashes(tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    return {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for name, tensor in tensors.items()
    }


def never_stopped(bench: Any, options: dict[str, Any]) -> dict[str, Any]:
    bench.fit("never stopped", **options).train()
    return outcome(bench.run("never stopped"))


@pytest.mark.parametrize(
    "options",
    [EVERYTHING, {**EVERYTHING, "optimizer": "muon"}, PLAIN],
    ids=["everything", "muon", "plain"],
)
def test_one_stop_at_any_step(bench: Any, options: dict[str, Any]) -> None:
    expected = never_stopped(bench, options)
    for stop in STOPS:
        name = f"stopped at {stop}"
        with pytest.raises(InterruptedRunError, match=f"step {stop} of 15"):
            bench.fit(name, reporter=StopAt(stop), **options).train()
        resumed = bench.fit(name, **options)
        assert resumed.resume()
        assert resumed.position.step == stop
        resumed.train()
        assert outcome(bench.run(name)) == expected, name


def test_a_stop_after_every_step(bench: Any) -> None:
    expected = never_stopped(bench, EVERYTHING)
    stops = 0
    while True:
        fit = bench.fit("x", reporter=StopAt(*range(15)), **EVERYTHING)
        assert fit.resume() == (stops > 0)
        try:
            fit.train()
        except InterruptedRunError:
            stops += 1
        else:
            break
    assert stops == 14
    assert outcome(bench.run("x")) == expected


def test_another_seed_ends_elsewhere(bench: Any) -> None:
    expected = never_stopped(bench, PLAIN)
    bench.fit("x", seed=8, **PLAIN).train()
    assert outcome(bench.run("x"))["weights"] != expected["weights"]
    bench.fit("y", **PLAIN).train()
    assert outcome(bench.run("y")) == expected


def losing(fit: Fit) -> Fit:
    """The same, but its validation loss grows by about 1 an epoch."""
    stepper = fit._stepper

    def predict(split: str) -> Predictions:
        labels = stepper.task.predict_split(stepper.model, "validation").labels
        logits = np.zeros((len(labels), 3), dtype=np.float32)
        logits[np.arange(len(labels)), labels] = -float(fit.position.epoch)
        return Predictions(logits, labels)

    stepper.predict = predict  # type: ignore[method-assign]
    return fit


def test_early_stopping_is_remembered(bench: Any) -> None:
    options = {**PLAIN, "keep": "best_loss", "early_stopping_epochs": 1}
    losing(bench.fit("never stopped", **options)).train()
    expected = outcome(bench.run("never stopped"))
    assert len(expected["epochs"]) == 2
    assert expected["facts"]["best_epoch"] == 1
    with pytest.raises(InterruptedRunError):
        losing(bench.fit("x", reporter=StopAt(10), **options)).train()
    fit = losing(bench.fit("x", **options))
    assert fit.resume()
    fit.train()
    assert outcome(bench.run("x")) == expected


def test_without_a_position_it_starts_again(bench: Any) -> None:
    expected = never_stopped(bench, PLAIN)
    run = bench.run("x")
    run.append_log({"event": "step", "step": 2})
    fit = bench.fit("x", **PLAIN)
    assert not fit.resume()
    fit.train()
    assert outcome(run) == expected


def test_a_damaged_position_is_refused(bench: Any) -> None:
    bench.fit("x", **PLAIN).train()
    path = bench.folder / "x" / "resume" / "position.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        bench.fit("x", **PLAIN).resume()


def test_the_position_of_another_model_is_refused(bench: Any) -> None:
    bench.fit("x", **PLAIN).train()
    with pytest.raises(RunError, match="does not fit the model"):
        bench.fit("x", **{**PLAIN, "task_options": {"dim": 16}}).resume()


# --- power


class PowerCut(BaseException):
    """Nothing after this runs, and nothing catches it."""


def cut_before_write(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let so many writes to the run folder happen, and the next one cut the power."""
    written = 0

    def counted(write: Callable[..., None]) -> Callable[..., None]:
        def wrapper(*arguments: Any) -> None:
            nonlocal written
            if written == number:
                raise PowerCut
            written += 1
            write(*arguments)

        return wrapper

    monkeypatch.setattr(runs, "replace_file", counted(runs.replace_file))
    monkeypatch.setattr(Run, "append_log", counted(Run.append_log))


@pytest.mark.parametrize("seconds", [0.0, 1000.0], ids=["often", "by epoch"])
def test_power_cut_before_every_write(
    bench: Any, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    options = {**EVERYTHING, "epochs": 2, "batch_size": 8, "log_every_steps": 1}
    options["checkpoint_every_seconds"] = seconds
    expected = never_stopped(bench, options)
    for number in range(1000):
        name = f"cut before write {number}"
        run = bench.run(name)
        with monkeypatch.context() as patch:
            cut_before_write(patch, number)
            try:
                bench.fit(name, **options).train()
            except PowerCut:
                pass
            else:
                break
        # What is there is whole.
        run.record()
        run.position()
        if run.has_weights():
            run.weights()
        fit = bench.fit(name, **options)
        fit.resume()
        fit.train()
        assert outcome(run) == expected, name
    # For each epoch three lines of steps and one of the epoch, weights, position and record;
    # often, two positions more.
    assert number == 2 * (7 if seconds else 9)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from conftest import Bench, toy_split
from qkv.progress import Reporter
from qkv.data.dataset import ImageDataset
import test_resume

class Kill(Reporter):
    def step(self, report, *, logged):
        if report.step == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

toy = ImageDataset("toy", ("top", "middle", "bottom"), toy_split([12, 6, 4], 0),
                   toy_split([4, 3, 2], 1), toy_split([3, 3, 3], 2), "", {})
options = {**test_resume.EVERYTHING, "checkpoint_every_seconds": 0.0}
Bench(Path(sys.argv[2]), toy).fit("killed", reporter=Kill(), **options).train()
"""


def test_kill_9_in_the_middle_of_an_epoch(bench: Any) -> None:
    expected = never_stopped(bench, EVERYTHING)
    here = str(Path(__file__).parent)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, here, str(bench.folder), "8"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = bench.run("killed")
    assert run.has_weights()
    fit = bench.fit("killed", **EVERYTHING)
    assert fit.resume()
    assert fit.position.step == 7  # the position of step 8 was still to be written
    fit.train()
    assert outcome(run) == expected
