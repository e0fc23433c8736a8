"""What is printed of a finished run."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qkv.cli.console import print_json, printable, results_console
from qkv.cli.text_summary import text_document, text_lines
from qkv.cli.wording import accuracy_with_interval, counted, duration

if TYPE_CHECKING:
    from qkv.runs import Run

# What a run that reads a known data set repeats of the source.
STUDIES = {"fashion-mnist": "s4", "imdb": "s5"}


def print_run(run: Run, *, as_json: bool) -> None:
    """Print the test result, the cost, where things are, and what to try next."""
    record = run.record()
    figures = sorted(run.figures_folder.glob("*.[ps][nv]g"))
    is_text = record["recipe"]["task"] == "text"
    if as_json:
        print_json(
            {
                "run": str(run.path),
                "test": record.get("test"),
                "figures": [str(path) for path in figures],
                "seed": record["seed"],
                "parameters": record["parameters"],
                "train_seconds": record["train_seconds"],
                **(text_document(record) if is_text else {}),
            }
        )
        return
    noun = "text" if is_text else "image"
    lines = {
        "test accuracy": _accuracy(record.get("test"), noun),
        **(text_lines(record, run.config()) if is_text else {}),
        "training time": duration(record["train_seconds"]),
        "parameters": f"{record['parameters']:,}{' trained' if is_text else ''}",
        "run": f"{run.path} (seed {record['seed']})",
        "figures": "none",
    }
    pictures = [path for path in figures if path.suffix == ".png"]
    if pictures:
        names = ", ".join(path.stem for path in pictures)
        lines["figures"] = f"{run.figures_folder}: {names} (PNG and SVG)"
    if record["data"]["skipped"]:
        number = len(record["data"]["skipped"])
        left_out = f"{number:,} of the rows or files" if is_text else counted(number, "file")
        lines["left out"] = f"{left_out}, named in run.json"
    console = results_console()
    for name, text in lines.items():
        console.print(f"{name:<15}{printable(text)}", soft_wrap=True)
    if record.get("verdict"):
        console.print(f"\n{printable(record['verdict'])}", soft_wrap=True)
    console.print("\nnext, try:")
    for command in _next_commands(run.path, record):
        console.print(f"  {command}", soft_wrap=True)


def _accuracy(test: dict[str, Any] | None, noun: str) -> str:
    if test is None:
        return f"no test {noun}s"
    accuracy = accuracy_with_interval(test["accuracy"], test["accuracy_interval_95"])
    return f"{accuracy} on {counted(test['examples'], noun)}"


def _next_commands(path: Path, record: dict[str, Any]) -> list[str]:
    program, run = _program(), shlex.quote(str(path))
    dataset = record["recipe"]["data"]["dataset"]
    last = (
        f"reproduce {STUDIES[dataset]}"
        if dataset in STUDIES
        else f"data inspect {shlex.quote(str(record['data']['folder']))}"
    )
    example = '"A text of yours."' if record["recipe"]["task"] == "text" else "IMAGE"
    commands = (
        f"evaluate {run}",
        f"predict {run} {example}",
        f"explain {run} {example}",
        f"serve {run}",
        last,
    )
    return [f"{program} {command}" for command in commands]


def _program() -> str:
    """How this program can be called again: an environment that is not active is not on PATH."""
    called = Path(sys.argv[0])
    if called.name == "qkv" and shutil.which("qkv") is None:
        return shlex.quote(str(called))
    return "qkv"
