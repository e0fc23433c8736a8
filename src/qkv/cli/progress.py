"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
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
from qkv.progress import Estimate, Progress, StepReport

SECONDS_BETWEEN_LINES = 5.0
BAR_COLUMNS = 16


SECONDS_BEFORE_RATE = 1.0


class PlainReporter:
    """One line for each logged step and each epoch; other progress every few seconds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def note(self, message: str) -> None:
        """Print the line."""
        say(printable(message))

    def progress(self, what: str, unit: str) -> Progress:
        """What prints a line if the last one is some time ago."""
        pace = _Pace(unit)
        spoken_at = time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal spoken_at
            pace.see(done)
            now = time.monotonic()
            if now - spoken_at >= SECONDS_BETWEEN_LINES:
                spoken_at = now
                say(f"{what}: {pace.words(done, total)}")

        return show

    def estimate(self, estimate: Estimate) -> None:
        """Print what the training will cost."""
        say(_estimate_line(estimate))

    def step(self, report: StepReport, *, logged: bool) -> None:
        """Print a line for a logged step."""
        if logged:
            say(
                f"step {report.step:,}/{report.total_steps:,}  "
                f"epoch {report.epoch}/{report.epochs}  {_step_text(report)}"
            )

    def epoch(self, entry: dict[str, Any]) -> None:
        """Print the results of the epoch."""
        say(_epoch_line(entry))


class TerminalReporter:
    """A bar for each kind of work and one for training, redrawn in place; epochs stay as lines."""

    def __init__(self) -> None:
        self._console = messages_console()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR_COLUMNS),
            TextColumn("{task.fields[state]}"),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._training: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def note(self, message: str) -> None:
        """Print the line above the bars."""
        self._print(message)

    def progress(self, what: str, unit: str) -> Progress:
        """What moves a bar, and takes it away when all is done."""
        pace = _Pace(unit)
        bar: TaskID | None = None

        def show(done: int, total: int) -> None:
            nonlocal bar
            pace.see(done)
            if bar is None:
                bar = self._bars.add_task(what, total=total, state="")
            self._bars.update(bar, completed=done, total=total, state=pace.words(done, total))
            if done >= total:
                self._bars.remove_task(bar)
                bar = None

        return show

    def estimate(self, estimate: Estimate) -> None:
        """Print what the training will cost."""
        self._print(_estimate_line(estimate))

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

    def epoch(self, entry: dict[str, Any]) -> None:
        """Print the results of the epoch above the bar."""
        self._print(_epoch_line(entry))

    def _print(self, line: str) -> None:
        self._console.print(printable(line), soft_wrap=True)


def make_reporter() -> PlainReporter | TerminalReporter:
    """The reporter that suits standard error; use it as a context manager."""
    return TerminalReporter() if draws(sys.stderr) else PlainReporter()


class _Pace:
    """Amounts in words, with the rate and the time left once there is a rate to speak of.

    Args:
        unit: what is counted, in the plural.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._first: tuple[float, int] | None = None

    def see(self, done: int) -> None:
        """Count from here if nothing was seen before, or if it begins anew."""
        if self._first is None or done < self._first[1]:
            self._first = (time.monotonic(), done)

    def words(self, done: int, total: int) -> str:
        """The amount, the rate since it was first seen, and the time left."""
        assert self._first is not None, "see comes first"
        now = time.monotonic()
        since, before = self._first
        rate = (done - before) / (now - since) if now - since > SECONDS_BEFORE_RATE else 0.0
        if not rate:
            return _amount(done, total, self._unit)
        left = duration((total - done) / rate)
        return f"{_amount(done, total, self._unit)}  {_speed(rate, self._unit)}  {left} left"


def _speed(rate: float, unit: str) -> str:
    """Units a second, or the seconds of one where a second is too short for it."""
    if unit == "bytes":
        return f"{mebibytes(round(rate))}/s"
    if rate < 1:
        return f"{duration(1 / rate)}/{unit.removesuffix('s')}"
    return f"{rate:.1f} {unit}/s" if rate < 9.95 else f"{rate:,.0f} {unit}/s"


def _amount(done: int, total: int, unit: str) -> str:
    if unit == "bytes":
        return f"{mebibytes(done)} of {mebibytes(total)}"
    return f"{done:,} of {counted(total, unit.removesuffix('s'))}"


def _estimate_line(estimate: Estimate) -> str:
    memory = "" if estimate.memory_bytes is None else f", memory {mebibytes(estimate.memory_bytes)}"
    return (
        f"estimate: {counted(estimate.total_steps, 'step')} in about "
        f"{duration(estimate.train_seconds)}{memory}, disk {mebibytes(estimate.disk_bytes)}"
    )


def _step_text(report: StepReport) -> str:
    return (
        f"loss {report.loss:.4f}  "
        f"accuracy {percent(report.accuracy)}  {report.examples_per_second:,.0f} {report.unit}/s  "
        f"{duration(report.seconds_left)} left"
    )


def _epoch_line(entry: dict[str, Any]) -> str:
    parts = [f"epoch {entry['epoch']}"]
    for split in ("train", "validation", "test"):
        loss, accuracy = entry.get(f"{split}_loss"), entry.get(f"{split}_accuracy")
        if loss is not None and accuracy is not None:
            parts.append(f"{split} loss {loss:.4f} accuracy {percent(accuracy)}")
    return "  ".join([*parts, duration(entry["seconds"])])
