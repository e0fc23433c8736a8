"""What text runs add to the summary of a run: the models beside each other, and the encoder."""

from __future__ import annotations

from typing import Any

from qkv.cli.text_tables import MODELS
from qkv.cli.wording import duration, percent

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
