"""Sections of a model card that images and texts share."""

from __future__ import annotations

from typing import Any


def data_section(record: dict[str, Any], noun: str) -> list[str]:
    """Where the examples came from, and what is to be said of them."""
    data = record["data"]
    examples = ", ".join(f"{count:,} {split}" for split, count in data["examples"].items() if count)
    return [
        "## Data",
        "",
        f"{data['name']}: {examples} {noun}s.",
        *(f"- {note}" for note in data["notes"]),
        *(f"- left out: {item['path']} ({item['reason']})" for item in data["skipped"]),
        "",
    ]


def training_section(record: dict[str, Any]) -> list[str]:
    """Seed, time and machine."""
    machine = record["machine"]
    return [
        "## Training",
        "",
        f"Seed {record['seed']}, {len(record['epochs'])} epochs in {record['train_seconds']:.0f} s "
        f"on {machine['processor']} ({machine['threads']} threads, {machine['device']}), "
        f"torch {machine['torch']}.",
    ]


def test_section(test: dict[str, Any], noun: str) -> list[str]:
    """Accuracy, calibration, and a row a class."""
    low, high = test["accuracy_interval_95"]
    return [
        "",
        "## Test",
        "",
        f"Accuracy {test['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}) on "
        f"{test['examples']:,} {noun}s, loss {test['loss']:.4f}, expected calibration error "
        f"{test['calibration']['expected_calibration_error']:.3f}.",
        "",
        f"| class | precision | recall | F1 | {noun}s |",
        "|---|---|---|---|---|",
        *(
            f"| {cell(name)} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} "
            f"| {row['support']} |"
            for name, row in test["per_class"].items()
        ),
    ]


def figure(title: str, name: str) -> list[str]:
    """A figure of the run, as a paragraph of its own."""
    return ["", f"![{title}](figures/{name}.png)"]


def use_section() -> list[str]:
    """How the run is loaded from Python."""
    return ["", "## Use", "", "```python", "import qkv", "", 'model = qkv.load(".")', "```", ""]


def cell(text: str) -> str:
    """Text that cannot break a table."""
    return text.replace("|", "\\|")
