"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Literal, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from qkv.cli.console import draws, messages_console, printable, say
from qkv.cli.counting import BAR_COLUMNS, SECONDS_BETWEEN_LINES
from qkv.cli.wording import counted, duration, mebibytes, percent
from qkv.training.progress import Forecast, StepReport

DataUnit = Literal["bytes", "files"]


class PlainReporter:
    """One line for each logged step and each epoch; data progress every few seconds.

    Args:
        unit: what data progress counts.
    """

    def __init__(self, unit: DataUnit) -> None:
        self._unit = unit
        self._spoken_at = time.monotonic()

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

    def data(self, done: int, total: int) -> None:
        """Print a line if the last one is some time ago."""
        now = time.monotonic()
        if now - self._spoken_at >= SECONDS_BETWEEN_LINES:
            self._spoken_at = now
            say(f"data: {_amount(done, total, self._unit)}")

    def forecast(self, forecast: Forecast) -> None:
        """Print what the training will cost."""
        say(_forecast_line(forecast))

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
    """A bar for data and a bar for training, redrawn in place; epochs stay as lines.

    Args:
        unit: what data progress counts.
    """

    def __init__(self, unit: DataUnit) -> None:
        self._unit = unit
        self._console = messages_console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR_COLUMNS),
            TextColumn("{task.fields[state]}"),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._data: TaskID | None = None
        self._training: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def note(self, message: str) -> None:
        """Print the line above the bars."""
        self._print(message)

    def data(self, done: int, total: int) -> None:
        """Move the data bar; take it away when all is there."""
        if self._data is None:
            self._data = self._progress.add_task("data", total=total, state="")
        state = _amount(done, total, self._unit)
        self._progress.update(self._data, completed=done, total=total, state=state)
        if done >= total:
            self._progress.remove_task(self._data)
            self._data = None

    def forecast(self, forecast: Forecast) -> None:
        """Print what the training will cost."""
        self._print(_forecast_line(forecast))

    def step(self, report: StepReport, *, logged: bool) -> None:  # noqa: ARG002
        """Move the training bar."""
        if self._training is None:
            self._training = self._progress.add_task("train", total=report.total_steps, state="")
        self._progress.update(
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


def make_reporter(unit: DataUnit = "files") -> PlainReporter | TerminalReporter:
    """The reporter that suits standard error; use it as a context manager."""
    return TerminalReporter(unit) if draws(sys.stderr) else PlainReporter(unit)


def data_unit(recipe: dict[str, Any]) -> DataUnit:
    """What data progress counts for a recipe: bytes fetched, or files decoded."""
    return "files" if recipe.get("data", {}).get("dataset") == "folder" else "bytes"


def _amount(done: int, total: int, unit: DataUnit) -> str:
    if unit == "bytes":
        return f"{mebibytes(done)} of {mebibytes(total)}"
    return f"{done:,} of {counted(total, 'file')}"


def _forecast_line(forecast: Forecast) -> str:
    memory = "" if forecast.memory_bytes is None else f", memory {mebibytes(forecast.memory_bytes)}"
    return (
        f"forecast: {counted(forecast.total_steps, 'step')} in about "
        f"{duration(forecast.train_seconds)}{memory}, disk {mebibytes(forecast.disk_bytes)}"
    )


def _step_text(report: StepReport) -> str:
    return (
        f"loss {report.loss:.4f}  "
        f"accuracy {percent(report.accuracy)}  {report.images_per_second:,.0f} images/s  "
        f"{duration(report.seconds_left)} left"
    )


def _epoch_line(entry: dict[str, Any]) -> str:
    parts = [f"epoch {entry['epoch']}"]
    for split in ("train", "validation", "test"):
        loss, accuracy = entry.get(f"{split}_loss"), entry.get(f"{split}_accuracy")
        if loss is not None and accuracy is not None:
            parts.append(f"{split} loss {loss:.4f} accuracy {percent(accuracy)}")
    return "  ".join([*parts, duration(entry["seconds"])])
