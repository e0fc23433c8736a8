"""The model card: what a run is, in words and with the hub's front matter."""

from __future__ import annotations

import json
from typing import Any

from qkv.runs import Run


def model_card(run: Run) -> str:
    """Markdown with YAML front matter, from run.json and config.json alone."""
    record, config = run.record(), run.config()
    return "\n".join([_front_matter(record), _body(record, config)])


def _front_matter(record: dict[str, Any]) -> str:
    lines = ["---", "library_name: qkv", "pipeline_tag: image-classification", "tags:", "- vit"]
    name = json.dumps(record["data"]["name"])
    if "test" in record:
        lines += [
            "model-index:",
            f"- name: {name}",
            "  results:",
            "  - task:",
            "      type: image-classification",
            "    dataset:",
            f"      name: {name}",
            f"      type: {name}",
            "    metrics:",
            "    - type: accuracy",
            f"      value: {record['test']['accuracy']:.4f}",
        ]
    return "\n".join([*lines, "---", ""])


def _body(record: dict[str, Any], config: dict[str, Any]) -> str:
    data, recipe, machine = record["data"], record["recipe"], record["machine"]
    examples = ", ".join(f"{count:,} {split}" for split, count in data["examples"].items() if count)
    model = config["model"]
    lines = [
        f"# Vision Transformer on {data['name']}",
        "",
        recipe["description"],
        "",
        "## Model",
        "",
        f"{record['parameters']:,} parameters: {model['depth']} blocks of width {model['dim']}, "
        f"{model['num_heads']} heads of {model['head_dim']}, patches of {model['patch_size']}×"
        f"{model['patch_size']} on {model['channels']}×{model['image_size']}×"
        f"{model['image_size']} pixels.",
        "",
        f"Classes: {', '.join(data['class_names'])}.",
        "",
        "## Data",
        "",
        f"{data['name']}: {examples} images.",
        *(f"- {note}" for note in data["notes"]),
        *(f"- left out: {item['path']} ({item['reason']})" for item in data["skipped"]),
        "",
        "## Training",
        "",
        f"Seed {record['seed']}, {len(record['epochs'])} epochs in {record['train_seconds']:.0f} s "
        f"on {machine['processor']} ({machine['threads']} threads, {machine['device']}), "
        f"torch {machine['torch']}.",
    ]
    if "test" in record:
        test = record["test"]
        low, high = test["accuracy_interval_95"]
        lines += [
            "",
            "## Test",
            "",
            f"Accuracy {test['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}) on "
            f"{test['examples']:,} images, loss {test['loss']:.4f}, expected calibration error "
            f"{test['calibration']['expected_calibration_error']:.3f}.",
            "",
            "| class | precision | recall | F1 | images |",
            "|---|---|---|---|---|",
            *(
                f"| {_cell(name)} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} "
                f"| {row['support']} |"
                for name, row in test["per_class"].items()
            ),
            "",
            "![Test images and predictions](figures/predictions.png)",
            "",
            "![Confusion matrix](figures/confusion.png)",
        ]
    lines += ["", "## Use", "", "```python", "import qkv", "", 'model = qkv.load(".")', "```", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
