"""TensorBoard beside log.jsonl, where its extra is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qkv.progress import Forecast, Progress, Reporter, StepReport


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


class _Both:
    """Tells the reporter, and writes scalars."""

    def __init__(self, reporter: Reporter, writer: Any) -> None:
        self._reporter = reporter
        self._writer = writer

    def note(self, message: str) -> None:
        self._reporter.note(message)

    def progress(self, what: str, unit: str) -> Progress:
        return self._reporter.progress(what, unit)

    def forecast(self, forecast: Forecast) -> None:
        self._reporter.forecast(forecast)

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
