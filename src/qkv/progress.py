"""What the training loop tells the outside while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Forecast:
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


class Reporter(Protocol):
    """Receives progress; every method may do nothing."""

    def note(self, message: str) -> None:
        """One line for people."""

    def progress(self, what: str, unit: str) -> Progress:
        """What is called with (done, total) while `what` goes on, counted in `unit`."""
        ...

    def forecast(self, forecast: Forecast) -> None:
        """Before the first step."""

    def step(self, report: StepReport, *, logged: bool) -> None:
        """After a step; `logged` when it also went to log.jsonl."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """After an epoch, with its entry of run.json."""


class Silent:
    """A reporter that says nothing."""

    def note(self, message: str) -> None:
        """Say nothing."""

    def progress(self, what: str, unit: str) -> Progress:  # noqa: ARG002
        """What says nothing."""
        return lambda done, total: None  # noqa: ARG005

    def forecast(self, forecast: Forecast) -> None:
        """Say nothing."""

    def step(self, report: StepReport, *, logged: bool) -> None:
        """Say nothing."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """Say nothing."""
