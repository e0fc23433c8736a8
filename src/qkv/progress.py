"""Progress of trainings and other long work, and who receives it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Estimate:
    """What a training is expected to cost, from a few timed steps.

    Attributes:
        train_seconds: time of all epochs, evaluation after each included.
        memory_bytes: peak memory of the process (on cuda: of the device); None where unknown.
        disk_bytes: peak size of the run folder with its resume position.
        total_steps: optimiser steps in all.
    """

    train_seconds: float
    memory_bytes: int | None
    disk_bytes: int
    total_steps: int


@dataclass(frozen=True)
class StepReport:
    """The running state of an epoch after a step.

    Attributes:
        step: steps done in all.
        total_steps: steps of the whole training.
        epoch: the current epoch, counted from 1.
        epochs: epochs of the whole training.
        loss: mean training loss since the last logged step.
        accuracy: training accuracy since the last logged step.
        learning_rate: the step size just used.
        unit: what the examples are, in the plural.
        examples_per_second: training speed since the last logged step.
        seconds_left: expected time to the end.
    """

    step: int
    total_steps: int
    epoch: int
    epochs: int
    loss: float
    accuracy: float
    learning_rate: float
    unit: str
    examples_per_second: float
    seconds_left: float


class Reporter:
    """Receives progress; this base class ignores it."""

    def note(self, message: str) -> None:
        """One line for people."""

    def progress(self, what: str, unit: str) -> Progress:  # noqa: ARG002
        """What is called with (done, total) while `what` goes on, counted in `unit`."""
        return lambda done, total: None  # noqa: ARG005

    def estimate(self, estimate: Estimate) -> None:
        """Before the first step."""

    def step(self, report: StepReport, *, logged: bool) -> None:
        """After a step; `logged` when it also went to log.jsonl."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """After an epoch, with its entry of run.json."""


@contextmanager
def with_tensorboard(reporter: Reporter, folder: Path) -> Iterator[Reporter]:
    """`reporter` itself, or one that also writes event files to `folder/tensorboard`."""
    if importlib.util.find_spec("tensorboard") is None:
        yield reporter
        return
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder / "tensorboard")
    try:
        yield _Both(reporter, writer)
    finally:
        writer.close()


class _Both(Reporter):
    """Tells the reporter, and writes scalars."""

    def __init__(self, reporter: Reporter, writer: Any) -> None:
        self._reporter = reporter
        self._writer = writer

    def note(self, message: str) -> None:
        self._reporter.note(message)

    def progress(self, what: str, unit: str) -> Progress:
        return self._reporter.progress(what, unit)

    def estimate(self, estimate: Estimate) -> None:
        self._reporter.estimate(estimate)

    def step(self, report: StepReport, *, logged: bool) -> None:
        self._reporter.step(report, logged=logged)
        if logged:
            for name in ("loss", "accuracy", "learning_rate", "examples_per_second"):
                self._writer.add_scalar(f"train/{name}", getattr(report, name), report.step)

    def epoch(self, entry: dict[str, Any]) -> None:
        self._reporter.epoch(entry)
        for name, value in entry.items():
            if name.endswith(("_loss", "_accuracy")):
                self._writer.add_scalar(f"epoch/{name}", value, entry["step"])
