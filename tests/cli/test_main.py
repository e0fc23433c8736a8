"""The program as a whole: quick help, one-line mistakes, exit codes, streams."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qkv import __version__
from qkv.cli import main as program
from qkv.errors import BadFilesError, InterruptedRunError, QKVError

Call = Callable[..., Any]

HEAVY = ("torch", "numpy", "PIL", "matplotlib", "rich.console", "httpx")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], []])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from qkv.cli.main import run\n"
        f"code = run({arguments!r})\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'loaded {loaded}' if loaded else code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "qkv" in done.stdout


def test_python_m_qkv_is_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qkv", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"qkv {__version__}\n")


def test_the_version_stands_in_one_place_and_needs_no_installation(
    qkv: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert importlib.metadata.version("qkv") == __version__

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    assert qkv("--version").out == f"qkv {__version__}\n"
    from qkv.training.train import _versions

    assert _versions()["qkv"] == __version__


def test_every_command_explains_itself(qkv: Call) -> None:
    listed = qkv().out
    for command in ("train", "evaluate", "predict", "data", "bench", "reproduce"):
        assert command in listed
        outcome = qkv(command, "--help")
        assert outcome.code == 0
        assert f"Usage: qkv {command}" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'? See qkv --help."),
        (["evaluate"], "Missing argument 'RUN'. See qkv evaluate --help."),
        (["predict", "run"], "Missing argument 'INPUT...'. See qkv predict --help."),
        (["data"], "Missing command. See qkv data --help."),
        (["predict", "run", "a.png", "--batch-size", "0"], "'--batch-size'"),
    ],
)
def test_a_mistyped_call_is_one_line(qkv: Call, arguments: list[str], message: str) -> None:
    outcome = qkv(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("qkv: error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (QKVError("x is y", remedy="do z"), 2, "qkv: error: x is y; do z\n"),
        (QKVError("x is\n\x1by", remedy="z"), 2, "qkv: error: x is\ufffd\ufffdy; z\n"),
        (InterruptedRunError("stopped at 3", remedy="go on"), 130, "qkv: stopped at 3; go on\n"),
        (KeyboardInterrupt(), 130, "qkv: stopped\n"),
        (
            BadFilesError("2 files", remedy="mend", files=[("a", "is empty"), ("b\n", "is cut")]),
            2,
            "qkv: error: 2 files; mend\n  a: is empty\n  b\ufffd: is cut\n",
        ),
    ],
)
def test_errors_become_lines_and_exit_codes(
    qkv: Call,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    printed: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("qkv.cli.train._recipe", fail)
    outcome = qkv("train", "vision")
    assert (outcome.code, outcome.out, outcome.err) == (code, "", printed)


def test_a_bug_is_not_hidden(qkv: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("qkv.cli.train._recipe", fail)
    with pytest.raises(ZeroDivisionError):
        qkv("train", "vision")


def test_main_exits_with_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        program.main(["--nonsense"])
    assert done.value.code == 2
    assert capsys.readouterr().err.startswith("qkv: error: No such option: --nonsense.")


@pytest.mark.skipif(os.name == "nt", reason="pipes of Windows end differently")
def test_a_reader_that_leaves_early_causes_no_complaint(run: Path, photos: Path) -> None:
    inputs = [str(photos)] * 30  # more than a pipe holds
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "qkv", "predict", str(run), *inputs, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == '{"predictions": [\n'
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1
    process.stderr.close()
