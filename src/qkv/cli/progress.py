"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Self

from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from qkv.cli.console import (
    counted,
    draws,
    duration,
    mebibytes,
    messages_console,
    percent,
    printable,
    say,
)
from qkv.progress import Estimate, Progress, Reporter, StepReport

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BEFORE_RATE = 1.0
BAR_COLUMNS = 16


class PlainReporter(Reporter):
    """One line for each logged step and each epoch; other progress every few seconds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def note(self, message: str) -> None:
        """Print the line."""
        say(printable(message))

    def progress(self, what: str, unit: str) -> Progress:
        """A callback that prints a line every few seconds."""
        pace = _pace(unit)
        spoken_at = time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal spoken_at
            words = pace(done, total)
            if time.monotonic() - spoken_at >= SECONDS_BETWEEN_LINES:
                spoken_at = time.monotonic()
                say(f"{what}: {words}")

        return show

    def estimate(self, estimate: Estimate) -> None:
        """Print what the training will cost."""
        steps, size = counted(estimate.total_steps, "step"), estimate.memory_bytes
        memory = "" if size is None else f", memory {mebibytes(size)}"
        cost = f"{duration(estimate.train_seconds)}{memory}, disk {mebibytes(estimate.disk_bytes)}"
        self.note(f"estimate: {steps} in about {cost}")

    def step(self, report: StepReport, *, logged: bool) -> None:
        """Print a line for a logged step."""
        if logged:
            say(
                f"step {report.step:,}/{report.total_steps:,}  "
                f"epoch {report.epoch}/{report.epochs}  {_step_text(report)}"
            )

    def epoch(self, entry: dict[str, Any]) -> None:
        """Print the results of the epoch."""
        parts = [f"epoch {entry['epoch']}"]
        for split in ("train", "validation", "test"):
            loss, accuracy = entry.get(f"{split}_loss"), entry.get(f"{split}_accuracy")
            if loss is not None and accuracy is not None:
                parts.append(f"{split} loss {loss:.4f} accuracy {percent(accuracy)}")
        self.note("  ".join([*parts, duration(entry["seconds"])]))


class TerminalReporter(PlainReporter):
    """A bar for each kind of work and one for training, redrawn in place; epochs stay as lines."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR_COLUMNS),
            TextColumn("{task.fields[state]}"),
            console=messages_console(),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._training: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def note(self, message: str) -> None:
        """Print the line above the bars."""
        self._bars.console.print(printable(message), soft_wrap=True)

    def progress(self, what: str, unit: str) -> Progress:
        """A callback that moves a bar, and removes it when all is done."""
        pace = _pace(unit)
        bar: TaskID | None = None

        def show(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                bar = self._bars.add_task(what, total=total, state="")
            self._bars.update(bar, completed=done, total=total, state=pace(done, total))
            if done >= total:
                self._bars.remove_task(bar)
                bar = None

        return show

    def step(self, report: StepReport, *, logged: bool) -> None:  # noqa: ARG002
        """Move the training bar."""
        if self._training is None:
            self._training = self._bars.add_task("train", total=report.total_steps, state="")
        self._bars.update(
            self._training,
            completed=report.step,
            description=f"epoch {report.epoch}/{report.epochs}",
            state=_step_text(report),
        )


def make_reporter() -> PlainReporter:
    """The reporter that suits standard error; use it as a context manager."""
    return TerminalReporter() if draws(sys.stderr) else PlainReporter()


def _pace(unit: str) -> Callable[[int, int], str]:
    """What formats the amount, the rate since its first call, and the time left."""
    first: tuple[float, int] | None = None

    def words(done: int, total: int) -> str:
        nonlocal first
        if first is None or done < first[1]:  # it begins, or begins anew
            first = (time.monotonic(), done)
        amount = f"{done:,} of {counted(total, unit.removesuffix('s'))}"
        if unit == "bytes":
            amount = f"{mebibytes(done)} of {mebibytes(total)}"
        seconds, before = time.monotonic() - first[0], first[1]
        if seconds <= SECONDS_BEFORE_RATE or done == before:
            return amount
        rate = (done - before) / seconds
        return f"{amount}  {_speed(rate, unit)}  {duration((total - done) / rate)} left"

    return words


def _speed(rate: float, unit: str) -> str:
    """Units a second, or the seconds of one where a second is too short for it."""
    if unit == "bytes":
        return f"{mebibytes(round(rate))}/s"
    if rate < 1:
        return f"{duration(1 / rate)}/{unit.removesuffix('s')}"
    return f"{rate:.1f} {unit}/s" if rate < 9.95 else f"{rate:,.0f} {unit}/s"


def _step_text(report: StepReport) -> str:
    speed = f"{report.examples_per_second:,.0f} {report.unit}/s"
    quality = f"loss {report.loss:.4f}  accuracy {percent(report.accuracy)}"
    return f"{quality}  {speed}  {duration(report.seconds_left)} left"
