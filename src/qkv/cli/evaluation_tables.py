"""An evaluation document as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from qkv.cli.console import results_console
from qkv.cli.tables import print_table
from qkv.cli.text_tables import print_lengths, print_models
from qkv.cli.wording import accuracy_with_interval, percent

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
