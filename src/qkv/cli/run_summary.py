"""What is printed of a finished run."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qkv.cli.console import print_json, printable, results_console
from qkv.cli.wording import accuracy_with_interval, counted, duration

if TYPE_CHECKING:
    from qkv.runs import Run


def print_run(run: Run, *, as_json: bool) -> None:
    """Print the test result, the cost, where things are, and what to try next."""
    record = run.record()
    figures = sorted(run.figures_folder.glob("*.[ps][nv]g"))
    if as_json:
        print_json(
            {
                "run": str(run.path),
                "test": record.get("test"),
                "figures": [str(path) for path in figures],
                "seed": record["seed"],
                "parameters": record["parameters"],
                "train_seconds": record["train_seconds"],
            }
        )
        return
    test = record.get("test")
    lines = {
        "test accuracy": "no test images"
        if test is None
        else f"{accuracy_with_interval(test['accuracy'], test['accuracy_interval_95'])} "
        f"on {counted(test['examples'], 'image')}",
        "training time": duration(record["train_seconds"]),
        "parameters": f"{record['parameters']:,}",
        "run": f"{run.path} (seed {record['seed']})",
        "figures": "none",
    }
    pictures = [path for path in figures if path.suffix == ".png"]
    if pictures:
        names = ", ".join(path.stem for path in pictures)
        lines["figures"] = f"{run.figures_folder}: {names} (PNG and SVG)"
    if record["data"]["skipped"]:
        lines["left out"] = f"{counted(len(record['data']['skipped']), 'file')}, named in run.json"
    console = results_console()
    for name, text in lines.items():
        console.print(f"{name:<15}{printable(text)}", soft_wrap=True)
    console.print("\nnext, try:")
    for command in _next_commands(run.path, record):
        console.print(f"  {command}", soft_wrap=True)


def _next_commands(path: Path, record: dict[str, Any]) -> list[str]:
    program, run = _program(), shlex.quote(str(path))
    own_images = record["recipe"]["data"]["dataset"] == "folder"
    third = (
        f"data inspect {shlex.quote(str(record['data']['folder']))}"
        if own_images
        else "reproduce s4"
    )
    return [f"{program} evaluate {run}", f"{program} predict {run} IMAGE", f"{program} {third}"]


def _program() -> str:
    """How this program can be called again: an environment that is not active is not on PATH."""
    called = Path(sys.argv[0])
    if called.name == "qkv" and shutil.which("qkv") is None:
        return shlex.quote(str(called))
    return "qkv"
