"""What only text runs have, as tables: their models beside each other, accuracy by length."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from qkv.cli.console import printable
from qkv.cli.tables import print_table
from qkv.cli.wording import percent

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
