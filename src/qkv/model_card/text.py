"""The card of a text run: encoder and head, the models beside each other, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qkv.model_card.parts import (
    data_section,
    figure,
    test_section,
    training_section,
    use_section,
)

_HEADS = {
    "gru": "A bidirectional GRU",
    "attention": "Learned queries that pool the tokens,",
    "mean": "The mean of the tokens, under a linear layer,",
}
_MODELS = {"neural": "encoder and head", "ngrams": "bag of n-grams", "stacked": "both, stacked"}


def text_body(record: dict[str, Any], config: dict[str, Any], figures: Sequence[str]) -> str:
    """All below the front matter.

    Args:
        record: run.json.
        config: config.json.
        figures: the names of those that were drawn.
    """
    data = record["data"]
    lines = [
        f"# Text classifier on {data['name']}",
        "",
        record["recipe"]["description"],
        "",
        *_model_section(record, config),
        f"Classes: {', '.join(data['class_names'])}.",
        "",
        *data_section(record, "text"),
        *training_section(record),
        *_beside_section(record),
    ]
    if "test" in record:
        lines += [
            *test_section(record["test"], "text"),
            "",
            _temperature(config["temperature"], stacked=config.get("stack") is not None),
        ]
    for name in figures:
        lines += figure(name.replace("-", " ").replace("_", " ").capitalize(), name)
    return "\n".join([*lines, *use_section()])


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
