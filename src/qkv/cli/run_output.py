"""What is printed of a finished run."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from qkv.cli.console import (
    accuracy_with_interval,
    counted,
    duration,
    percent,
    print_json,
    print_table,
    printable,
    results_console,
)

if TYPE_CHECKING:
    from qkv.runs import Run


MODELS = {"neural": "neural model", "ngrams": "n-grams", "stacked": "both stacked"}


def print_models(console: Console, models: dict[str, dict[str, Any]], verdict: str) -> None:
    """Print a row a model, and the verdict if there is one."""
    print_table(
        console,
        "Each model by itself",
        ("model", "accuracy", "95 % interval", "loss"),
        (
            [
                MODELS[name],
                percent(scores["accuracy"]),
                " to ".join(map(percent, scores["accuracy_interval_95"])),
                f"{scores['loss']:.4f}",
            ]
            for name, scores in models.items()
        ),
    )
    if verdict:
        console.print(printable(verdict), soft_wrap=True)


def print_lengths(console: Console, by_length: dict[str, Any]) -> None:
    """Print a row for each range of lengths."""
    print_table(
        console,
        "Accuracy by length",
        ("tokens", "texts", "accuracy", "95 % interval"),
        (
            [
                f"{one['shortest']:,} to {one['longest']:,}",
                f"{one['count']:,}",
                percent(one["accuracy"]),
                " to ".join(map(percent, one["accuracy_interval_95"])),
            ]
            for one in by_length["bins"]
        ),
    )


DOCUMENTED = ("models", "ngram_seconds", "encoder_parameters", "verdict")


def text_document(record: dict[str, Any]) -> dict[str, Any]:
    """The entries of the JSON document that only text runs have."""
    return {key: record.get(key) for key in DOCUMENTED}


def text_lines(record: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    """A line for each model, on the test split or else on validation, and one for the encoder."""
    models = record["models"]
    split = next((name for name in ("test", "validation") if name in models["neural"]), None)
    lines = {}
    for model, scores in models.items() if split is not None else ():
        where = " on the validation split" if split == "validation" else ""
        seconds = f", fitted in {duration(record['ngram_seconds'])}" if model == "ngrams" else ""
        lines[MODELS[model]] = f"{percent(scores[split]['accuracy'])}{where}{seconds}"
    name = config["encoder"]["identity"]["name"]
    lines["encoder"] = f"{name}, {record['encoder_parameters']:,} parameters"
    return lines


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


# A confusion matrix of more classes does not fit a terminal; its largest entries are listed.
MATRIX_CLASSES = 12
LISTED_CONFUSIONS = 10


def print_evaluation(document: dict[str, Any], noun: str = "image") -> None:
    """Print the figures of the whole, then by class, confusion, and reliability.

    Args:
        document: of an image or a text run; the latter has more, which is printed too.
        noun: what an example is.
    """
    console = results_console()
    examples = f"{noun}s"
    accuracy = accuracy_with_interval(document["accuracy"], document["accuracy_interval_95"])
    calibration = document["calibration"]
    for name, text in {
        "accuracy": accuracy,
        "loss": f"{document['loss']:.4f}",
        examples: f"{document['examples']:,}",
        "calibration": f"expected error {percent(calibration['expected_calibration_error'])}, "
        f"Brier {calibration['brier']:.4f}",
    }.items():
        console.print(f"{name:<13}{text}")
    if "models" in document:
        print_models(console, document["models"], document["verdict"])
    print_table(
        console,
        "By class",
        ("class", "precision", "recall", "F1", examples),
        (
            [
                name,
                *(f"{row[key]:.3f}" for key in ("precision", "recall", "f1")),
                f"{row['support']:,}",
            ]
            for name, row in document["per_class"].items()
        ),
    )
    _print_confusion(console, list(document["per_class"]), document["confusion_matrix"], examples)
    if "by_length" in document:
        print_lengths(console, document["by_length"])
    print_table(
        console,
        "Reliability",
        ("confidence", examples, "mean confidence", "accuracy"),
        (
            [
                f"{one['lower']:.2f} to {one['upper']:.2f}",
                f"{one['count']:,}",
                percent(one["confidence"]),
                percent(one["accuracy"]),
            ]
            for one in calibration["bins"]
            if one["count"]
        ),
    )


def _print_confusion(
    console: Console, names: list[str], matrix: list[list[int]], examples: str
) -> None:
    if len(names) <= MATRIX_CLASSES:
        print_table(
            console,
            "Confusion: truth down, prediction across",
            ["", *map(str, range(len(names)))],
            (
                [f"{number} {name}", *(f"{count:,}" for count in row)]
                for number, (name, row) in enumerate(zip(names, matrix, strict=True))
            ),
        )
        return
    wrong = [
        (count, truth, prediction)
        for truth, row in zip(names, matrix, strict=True)
        for prediction, count in zip(names, row, strict=True)
        if count and truth != prediction
    ]
    print_table(
        console,
        "Most frequent confusions",
        ("truth", "prediction", examples),
        (
            [truth, prediction, f"{count:,}"]
            for count, truth, prediction in sorted(wrong, reverse=True)[:LISTED_CONFUSIONS]
        ),
    )
