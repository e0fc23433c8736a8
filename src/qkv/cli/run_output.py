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
    print_facts,
    print_json,
    print_table,
    printable,
    results_console,
    shown_interval,
)

if TYPE_CHECKING:
    from qkv.runs import Run


MODELS = {"neural": "neural model", "ngrams": "n-grams", "stacked": "both stacked"}
KNOWN_DATASETS = {"fashion-mnist", "imdb"}  # those with reported figures


def print_run(run: Run, *, as_json: bool) -> None:
    """Print the test result, the cost, where things are, and what to try next."""
    record = run.record()
    figures = sorted(run.figures_folder.glob("*.[ps][nv]g"))
    is_text = record["recipe"]["task"] == "text"
    if as_json:
        document = {
            "run": str(run.path),
            "test": record.get("test"),
            "figures": [str(path) for path in figures],
            **{key: record[key] for key in ("seed", "parameters", "train_seconds")},
        }
        for key in ("models", "ngram_seconds", "encoder_parameters", "verdict") if is_text else ():
            document[key] = record.get(key)
        print_json(document)
        return
    noun, test = "text" if is_text else "image", record.get("test")
    facts = {"test accuracy": f"no test {noun}s"}
    if test is not None:
        accuracy = accuracy_with_interval(test["accuracy"], test["accuracy_interval_95"])
        facts["test accuracy"] = f"{accuracy} on {counted(test['examples'], noun)}"
    if is_text:
        facts |= _text_facts(record, run.config()["encoder"]["identity"]["name"])
    facts |= {
        "training time": duration(record["train_seconds"]),
        "parameters": f"{record['parameters']:,}{' trained' if is_text else ''}",
        "run": f"{run.path} (seed {record['seed']})",
        "figures": "none",
    }
    if names := ", ".join(path.stem for path in figures if path.suffix == ".png"):
        facts["figures"] = f"{run.figures_folder}: {names} (PNG and SVG)"
    if number := len(record["data"]["skipped"]):
        left_out = f"{number:,} of the rows or files" if is_text else counted(number, "file")
        facts["left out"] = f"{left_out}, named in run.json"
    console = results_console()
    print_facts(console, facts, 15)
    if record.get("verdict"):
        console.print(f"\n{printable(record['verdict'])}", soft_wrap=True)
    console.print("\nnext, try:")
    for command in _next_commands(run.path, record):
        console.print(f"  {command}", soft_wrap=True)


def _text_facts(record: dict[str, Any], encoder: str) -> dict[str, str]:
    """Each model's accuracy, on the test split or else on validation, and the encoder."""
    models, facts = record["models"], {}
    split = next((name for name in ("test", "validation") if name in models["neural"]), None)
    for model, scores in models.items() if split is not None else ():
        where = " on the validation split" if split == "validation" else ""
        seconds = f", fitted in {duration(record['ngram_seconds'])}" if model == "ngrams" else ""
        facts[MODELS[model]] = f"{percent(scores[split]['accuracy'])}{where}{seconds}"
    return {**facts, "encoder": f"{encoder}, {record['encoder_parameters']:,} parameters"}


def _next_commands(path: Path, record: dict[str, Any]) -> list[str]:
    # An environment that is not active is not on PATH.
    called = sys.argv[0]
    there = Path(called).name != "qkv" or shutil.which("qkv") is not None
    program, run = "qkv" if there else shlex.quote(called), shlex.quote(str(path))
    dataset = record["recipe"]["data"]["dataset"]
    last = f"data inspect {shlex.quote(str(record['data']['folder']))}"
    if dataset in KNOWN_DATASETS:
        last = f"reproduce {dataset}"
    example = '"A text of yours."' if record["recipe"]["task"] == "text" else "IMAGE"
    commands = (
        f"evaluate {run}",
        f"predict {run} {example}",
        f"explain {run} {example}",
        f"serve {run}",
        last,
    )
    return [f"{program} {command}" for command in commands]


# A confusion matrix of more classes does not fit a terminal; its largest entries are listed.
MATRIX_CLASSES = 12
LISTED_CONFUSIONS = 10


def print_evaluation(document: dict[str, Any], noun: str = "image") -> None:
    """Print figures of the whole, then by model and length (texts), class and confidence."""
    console = results_console()
    examples = f"{noun}s"
    calibration = document["calibration"]
    facts = {
        "accuracy": accuracy_with_interval(document["accuracy"], document["accuracy_interval_95"]),
        "loss": f"{document['loss']:.4f}",
        examples: f"{document['examples']:,}",
        "calibration": f"expected error {percent(calibration['expected_calibration_error'])}, "
        f"Brier {calibration['brier']:.4f}",
    }
    print_facts(console, facts, 13)
    if "models" in document:
        rows = (
            [MODELS[name], *_accuracy(scores), f"{scores['loss']:.4f}"]
            for name, scores in document["models"].items()
        )
        heads = ("model", "accuracy", "95 % interval", "loss")
        print_table(console, "Each model by itself", heads, rows)
        if document["verdict"]:
            console.print(printable(document["verdict"]), soft_wrap=True)
    rows = (
        [name, *(f"{row[key]:.3f}" for key in ("precision", "recall", "f1")), f"{row['support']:,}"]
        for name, row in document["per_class"].items()
    )
    print_table(console, "By class", ("class", "precision", "recall", "F1", examples), rows)
    _print_confusion(console, list(document["per_class"]), document["confusion_matrix"], examples)
    if "by_length" in document:
        rows = (
            [f"{one['shortest']:,} to {one['longest']:,}", f"{one['count']:,}", *_accuracy(one)]
            for one in document["by_length"]["bins"]
        )
        heads = ("tokens", "texts", "accuracy", "95 % interval")
        print_table(console, "Accuracy by length", heads, rows)
    rows = (
        [
            f"{one['lower']:.2f} to {one['upper']:.2f}",
            f"{one['count']:,}",
            percent(one["confidence"]),
            percent(one["accuracy"]),
        ]
        for one in calibration["bins"]
        if one["count"]
    )
    heads = ("confidence", examples, "mean confidence", "accuracy")
    print_table(console, "Reliability", heads, rows)


def _accuracy(scores: dict[str, Any]) -> list[str]:
    return [percent(scores["accuracy"]), shown_interval(scores["accuracy_interval_95"])]


def _print_confusion(
    console: Console, names: list[str], matrix: list[list[int]], examples: str
) -> None:
    if len(names) <= MATRIX_CLASSES:
        rows = (
            [f"{number} {name}", *(f"{count:,}" for count in row)]
            for number, (name, row) in enumerate(zip(names, matrix, strict=True))
        )
        heads = ["", *map(str, range(len(names)))]
        print_table(console, "Confusion: truth down, prediction across", heads, rows)
        return
    wrong = [
        (count, truth, prediction)
        for truth, row in zip(names, matrix, strict=True)
        for prediction, count in zip(names, row, strict=True)
        if count and truth != prediction
    ]
    rows = (
        [truth, prediction, f"{count:,}"]
        for count, truth, prediction in sorted(wrong, reverse=True)[:LISTED_CONFUSIONS]
    )
    print_table(console, "Most frequent confusions", ("truth", "prediction", examples), rows)
