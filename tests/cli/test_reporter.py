"""Progress in plain lines and as bars, and quantities in words."""

from __future__ import annotations

import contextlib
import io

import pytest

from qkv.cli.console import counted, duration, mebibytes
from qkv.cli.progress import PlainReporter, TerminalReporter, make_reporter
from qkv.progress import Estimate, StepReport

STEP = StepReport(
    step=1200,
    total_steps=3000,
    epoch=2,
    epochs=5,
    loss=0.51234,
    accuracy=0.8125,
    learning_rate=0.002,
    unit="images",
    examples_per_second=4321.6,
    seconds_left=75.0,
)
EPOCH = {"epoch": 2, "train_loss": 0.5, "train_accuracy": 0.8, "seconds": 61.0}
FORECAST = Estimate(train_seconds=200.0, memory_bytes=812 * 2**20, disk_bytes=2**20, total_steps=9)


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


def test_plain_lines_for_logged_steps_epochs_and_the_forecast(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with make_reporter() as reporter:
        assert isinstance(reporter, PlainReporter)
        reporter.note("a\x1bb")
        reporter.estimate(FORECAST)
        reporter.step(STEP, logged=False)
        reporter.step(STEP, logged=True)
        reporter.epoch({**EPOCH, "validation_loss": None, "test_loss": 0.4, "test_accuracy": 0.85})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "a\ufffdb",
        "estimate: 9 steps in about 3 min 20 s, memory 812 MiB, disk 1.0 MiB",
        "step 1,200/3,000  epoch 2/5  loss 0.5123  accuracy 81.25 %  4,322 images/s  "
        "1 min 15 s left",
        "epoch 2  train loss 0.5000 accuracy 80.00 %  test loss 0.4000 accuracy 85.00 %  "
        "1 min 01 s",
    ]


def test_plain_data_progress_speaks_seldom(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("qkv.cli.progress.time.monotonic", lambda: clock[0])
    fetched = PlainReporter().progress("data", "files")
    for done in range(1, 121):  # twelve seconds at ten a second
        clock[0] = done / 10
        fetched(done, 1200)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "data: 50 of 1,200 files  10 files/s  1 min 55 s left",
        "data: 100 of 1,200 files  10 files/s  1 min 50 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "speed"),
    [(0.01, "100 texts/s"), (0.4, "2.5 texts/s"), (1.0, "1.0 texts/s"), (3.6, "3.6 s/text")],
)
def test_slow_work_is_told_by_the_seconds_of_one(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    speed: str,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("qkv.cli.progress.time.monotonic", lambda: clock[0])
    show = PlainReporter().progress("explain", "texts")
    show(0, 1000)
    clock[0] = 1000 * seconds
    show(1000, 1000)
    assert f"1,000 of 1,000 texts  {speed}  " in capsys.readouterr().err


def test_a_terminal_gets_bars_and_keeps_the_epochs(terminal: Terminal) -> None:
    with contextlib.redirect_stderr(terminal), make_reporter() as reporter:
        assert isinstance(reporter, TerminalReporter)
        fetched = reporter.progress("data", "bytes")
        fetched(2**20, 30 * 2**20)
        fetched(30 * 2**20, 30 * 2**20)
        reporter.note("a [red] note")
        reporter.estimate(FORECAST)
        reporter.step(STEP, logged=False)
        reporter.epoch(EPOCH)
    drawn = terminal.getvalue()
    for words in (
        "a [red] note\n",
        "estimate: 9 steps",
        "epoch 2/5",
        "loss 0.5123  accuracy 81.25 %  4,322 images/s  1 min 15 s left",
        "epoch 2  train loss 0.5000 accuracy 80.00 %  1 min 01 s\n",
    ):
        assert words in drawn
    assert drawn.rstrip().endswith("\x1b[2K")  # the bars are wiped at the end


def test_a_dumb_terminal_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with contextlib.redirect_stderr(terminal):
        assert isinstance(make_reporter(), PlainReporter)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (3900, "1 h 05 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_counts_and_sizes() -> None:
    assert counted(1, "image") == "1 image"
    assert counted(2000, "image") == "2,000 images"
    assert mebibytes(3 * 2**19) == "1.5 MiB"
    assert mebibytes(2000 * 2**20) == "2,000 MiB"
