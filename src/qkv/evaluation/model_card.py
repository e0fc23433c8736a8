"""The model card: what a run is, in words and with the hub's front matter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from qkv.runs import Run

_USE = ["", "## Use", "", "```python", "import qkv", "", 'model = qkv.load(".")', "```", ""]


def _front_matter(record: dict[str, Any], task: str, tag: str, base_model: str = "") -> str:
    lines = ["---", "library_name: qkv", f"pipeline_tag: {task}", "tags:", f"- {tag}"]
    if "/" in base_model:  # a hub name, `owner/name`
        lines.append(f"base_model: {json.dumps(base_model)}")
    name = json.dumps(record["data"]["name"])
    if "test" in record:
        lines += [
            "model-index:",
            f"- name: {name}",
            "  results:",
            "  - task:",
            f"      type: {task}",
            "    dataset:",
            f"      name: {name}",
            f"      type: {name}",
            "    metrics:",
            "    - type: accuracy",
            f"      value: {record['test']['accuracy']:.4f}",
        ]
    return "\n".join([*lines, "---", ""])


def _data_section(record: dict[str, Any], noun: str) -> list[str]:
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


def _training_section(record: dict[str, Any]) -> list[str]:
    machine = record["machine"]
    return [
        "## Training",
        "",
        f"Seed {record['seed']}, {len(record['epochs'])} epochs in {record['train_seconds']:.0f} s "
        f"on {machine['processor']} ({machine['threads']} threads, {machine['device']}), "
        f"torch {machine['torch']}.",
    ]


def _test_section(test: dict[str, Any], noun: str) -> list[str]:
    low, high = test["accuracy_interval_95"]
    names = [name.replace("|", "\\|") for name in test["per_class"]]  # which would break the table
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
            f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} "
            f"| {row['support']} |"
            for name, row in zip(names, test["per_class"].values(), strict=True)
        ),
    ]


_HEADS = {
    "gru": "A bidirectional GRU",
    "attention": "Learned queries that pool the tokens,",
    "mean": "The mean of the tokens, under a linear layer,",
}
_MODELS = {"neural": "encoder and head", "ngrams": "bag of n-grams", "stacked": "both, stacked"}


def _text_body(record: dict[str, Any], config: dict[str, Any], figures: Sequence[str]) -> str:
    data = record["data"]
    lines = [
        f"# Text classifier on {data['name']}",
        "",
        record["recipe"]["description"],
        "",
        *_model_section(record, config),
        f"Classes: {', '.join(data['class_names'])}.",
        "",
        *_data_section(record, "text"),
        *_training_section(record),
        *_beside_section(record),
    ]
    if "test" in record:
        lines += [
            *_test_section(record["test"], "text"),
            "",
            _temperature(config["temperature"], stacked=config.get("stack") is not None),
        ]
    for name in figures:
        title = name.replace("-", " ").replace("_", " ").capitalize()
        lines += ["", f"![{title}](figures/{name}.png)"]
    return "\n".join([*lines, *_USE])


def _model_section(record: dict[str, Any], config: dict[str, Any]) -> list[str]:
    encoder, settings = config["encoder"]["identity"], config["encoder"]["settings"]
    head, unfrozen = config["model"]["head"]["kind"], config["model"]["unfreeze_layers"]
    frozen = {
        0: "The encoder is frozen.",
        "all": "All of the encoder is trained with the head.",
    }.get(unfrozen, f"The top {unfrozen} layers of the encoder are trained with the head.")
    answers = (
        "Its answers and those of a bag of n-grams are weighed together."
        if config.get("stack") is not None
        else "It answers alone."
    )
    return [
        "## Model",
        "",
        f"{_HEADS.get(head, head)} on states of {encoder['name']} "
        f"({_layers(settings['layers'])}, width {config['model']['dim']}): "
        f"{record['parameters']:,} trained parameters on {config['encoder']['parameters']:,} of "
        f"the encoder. {frozen} {answers}",
        "",
        f"- encoder: {encoder['name']}, revision {encoder.get('revision') or 'not named'}, sha256 "
        f"of its weights {encoder['weights_sha256']}",
        f"- texts: {_truncation(settings['truncation'])}",
        "",
    ]


def _layers(layers: str | int | list[int]) -> str:
    match layers:
        case list():
            return f"mean of layers {', '.join(map(str, layers))}"
        case int():
            return f"layer {layers}"
    return "last layer"


def _truncation(settings: dict[str, Any]) -> str:
    tokens = settings["max_tokens"]
    room = "the encoder's positions" if tokens is None else f"{tokens} tokens"
    match settings["kind"]:
        case "head":
            return f"the beginning is read, up to {room}"
        case "tail":
            return f"the end is read, up to {room}"
        case "head+tail":
            begin = f"{settings['head_tokens']} word pieces of the beginning"
            return f"{begin} and the end are read, up to {room} in all"
    return (
        f"read whole, in up to {settings['max_windows']} windows of {room} that share "
        f"{settings['overlap_tokens']}; what lies beyond is cut off"
    )


def _beside_section(record: dict[str, Any]) -> list[str]:
    models = record["models"]
    splits = [name for name in ("validation", "test") if name in models["neural"]]
    if not splits:
        return []
    verdict = record.get("verdict", "")
    return [
        "",
        "## Beside a bag of n-grams",
        "",
        "Each model by itself; the n-grams were fitted to the same texts in "
        f"{record['ngram_seconds']:.1f} s.",
        "",
        f"| model | {' | '.join(f'{name} accuracy | loss' for name in splits)} |",
        f"|---|{'---|---|' * len(splits)}",
        *(
            f"| {_MODELS[model]} | "
            + " | ".join(f"{of[name]['accuracy']:.2%} | {of[name]['loss']:.4f}" for name in splits)
            + " |"
            for model, of in models.items()
        ),
        *(["", f"{verdict[:1].upper()}{verdict[1:]}."] if verdict else []),
    ]


def _temperature(temperature: float, *, stacked: bool) -> str:
    if temperature == 1.0:
        return "No temperature was fitted: probabilities are those of the training."
    what = "Before both are weighed, logits of encoder and head" if stacked else "Logits"
    return f"{what} are divided by a temperature of {temperature:.3f}, fitted on validation data."


def _vision_body(record: dict[str, Any], config: dict[str, Any]) -> str:
    data, model = record["data"], config["model"]
    lines = [
        f"# Vision Transformer on {data['name']}",
        "",
        record["recipe"]["description"],
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
        *_data_section(record, "image"),
        *_training_section(record),
    ]
    if "test" in record:
        lines += [
            *_test_section(record["test"], "image"),
            "",
            "![Test images and predictions](figures/predictions.png)",
            "",
            "![Confusion matrix](figures/confusion.png)",
        ]
    return "\n".join([*lines, *_USE])


def model_card(run: Run) -> str:
    """Markdown with YAML front matter, from run.json and config.json alone."""
    record, config = run.record(), run.config()
    if config.get("task") == "text":
        encoder = config["encoder"]["identity"]["name"]
        kind = config["model"]["head"]["kind"]
        head = _front_matter(record, "text-classification", kind, encoder)
        figures = sorted(path.stem for path in run.figures_folder.glob("*.png"))
        return "\n".join([head, _text_body(record, config, figures)])
    head = _front_matter(record, "image-classification", "vit")
    return "\n".join([head, _vision_body(record, config)])
