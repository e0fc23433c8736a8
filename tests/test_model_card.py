"""The model card: true to the record, and readable by the hub."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from qkv.evaluation.model_card import model_card
from qkv.runs import Run

CONFIG: dict[str, Any] = {
    "model": {
        "depth": 6, "dim": 96, "num_heads": 4, "head_dim": 24, "patch_size": 7, "channels": 1,
        "image_size": 28,
    }
}  # fmt: skip
RECORD: dict[str, Any] = {
    "status": "finished",
    "seed": 42,
    "parameters": 598794,
    "train_seconds": 61.4,
    "epochs": [{"epoch": 1}, {"epoch": 2}],
    "recipe": {"description": "A test."},
    "machine": {"processor": "A CPU", "threads": 2, "device": "cpu", "torch": "2.13"},
    "data": {
        "name": 'my: "shoes" # 1',
        "source": "folder /x",
        "examples": {"train": 60000, "validation": 0, "test": 10000},
        "class_names": ["a", "b"],
        "notes": ["carved by seed 42"],
        "skipped": [{"path": "a/x.png", "reason": "is empty"}],
    },
    "test": {
        "accuracy": 0.87654,
        "accuracy_interval_95": [0.87, 0.88],
        "loss": 0.45678,
        "examples": 10000,
        "calibration": {"expected_calibration_error": 0.0123},
        "per_class": {
            "a": {"precision": 0.91, "recall": 0.82, "f1": 0.863, "support": 5001},
            "b": {"precision": 0.71, "recall": 0.62, "f1": 0.662, "support": 4999},
        },
    },
}


def card(tmp_path: Path, record: dict[str, Any]) -> tuple[dict[str, Any], str]:
    text = model_card(Run.create(tmp_path / "run", config=CONFIG, record=record))
    empty, front, body = text.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(front), body


def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    front, _ = card(tmp_path, RECORD)
    assert front["library_name"] == "qkv"
    assert front["pipeline_tag"] == "image-classification"
    (model,) = front["model-index"]
    (result,) = model["results"]
    assert model["name"] == 'my: "shoes" # 1'
    assert result["task"] == {"type": "image-classification"}
    assert result["dataset"]["name"] == 'my: "shoes" # 1'
    assert result["metrics"] == [{"type": "accuracy", "value": 0.8765}]


@pytest.mark.parametrize(
    "fact",
    [
        "598,794 parameters: 6 blocks of width 96, 4 heads of 24",
        "1×28×28 pixels",
        "Classes: a, b.",
        f"{RECORD['data']['name']}: 60,000 train, 10,000 test images.",
        "- carved by seed 42",
        "- left out: a/x.png (is empty)",
        "Seed 42, 2 epochs in 61 s on A CPU (2 threads, cpu), torch 2.13.",
        "Accuracy 87.65% (95 % interval 87.00% to 88.00%) on 10,000 images, loss 0.4568",
        "calibration error 0.012.",
        "| a | 0.910 | 0.820 | 0.863 | 5001 |",
        "| b | 0.710 | 0.620 | 0.662 | 4999 |",
        "A test.",
    ],
)
def test_the_body_states_the_record(tmp_path: Path, fact: str) -> None:
    assert fact in card(tmp_path, RECORD)[1]


def test_without_a_test_nothing_is_claimed(tmp_path: Path) -> None:
    record = copy.deepcopy(RECORD)
    del record["test"]
    front, body = card(tmp_path, record)
    assert "model-index" not in front
    assert "Accuracy" not in body
    assert "figures/" not in body


def test_a_class_name_cannot_break_the_table(tmp_path: Path) -> None:
    record = copy.deepcopy(RECORD)
    record["test"]["per_class"] = {"a|b": record["test"]["per_class"]["a"]}
    rows = [line for line in card(tmp_path, record)[1].splitlines() if "0.910" in line]
    assert rows == ["| a\\|b | 0.910 | 0.820 | 0.863 | 5001 |"]


TEXT_CONFIG: dict[str, Any] = {
    "task": "text",
    "model": {"head": {"kind": "attention"}, "dim": 384, "unfreeze_layers": 0},
    "encoder": {
        "identity": {
            "name": "sentence-transformers/all-MiniLM-L6-v2",
            "revision": None,
            "weights_sha256": "53aa51",
            "tokenizer_sha256": "99bb",
        },
        "settings": {
            "layers": 5,
            "truncation": {
                "kind": "windows",
                "max_tokens": None,
                "head_tokens": 128,
                "overlap_tokens": 64,
                "max_windows": 4,
            },
        },
        "parameters": 22_565_376,
    },
    "temperature": 1.25,
    "stack": {"neural_weight": 1.0},
}


def scores(accuracy: float, loss: float) -> dict[str, Any]:
    one = {"accuracy": accuracy, "loss": loss}
    return {"validation": {"accuracy": accuracy - 0.01, "loss": loss + 0.01}, "test": one}


TEXT_RECORD: dict[str, Any] = {
    **RECORD,
    "parameters": 12_345,
    "ngram_seconds": 31.44,
    "models": {
        "neural": scores(0.9012, 0.25),
        "ngrams": scores(0.9123, 0.24),
        "stacked": scores(0.9234, 0.2),
    },
    "verdict": "the encoder does not beat a bag of n-grams on the test split",
}


def text_card(
    tmp_path: Path, record: dict[str, Any] = TEXT_RECORD, config: dict[str, Any] = TEXT_CONFIG
) -> tuple[dict[str, Any], str]:
    run = Run.create(tmp_path / "run", config=config, record=record)
    run.figures_folder.mkdir()
    (run.figures_folder / "accuracy-by-length.png").touch()
    _, front, body = model_card(run).split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_front_matter_of_a_text_run(tmp_path: Path) -> None:
    front, _ = text_card(tmp_path)
    assert front["pipeline_tag"] == "text-classification"
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    (result,) = front["model-index"][0]["results"]
    assert result["task"] == {"type": "text-classification"}


def test_a_local_encoder_is_no_base_model_of_the_hub(tmp_path: Path) -> None:
    config = copy.deepcopy(TEXT_CONFIG)
    config["encoder"]["identity"]["name"] = "my-bert"
    assert "base_model" not in text_card(tmp_path, config=config)[0]


@pytest.mark.parametrize(
    "fact",
    [
        "# Text classifier on my:",
        "12,345 trained parameters on 22,565,376 of the encoder",
        "states of sentence-transformers/all-MiniLM-L6-v2 (layer 5, width 384)",
        "The encoder is frozen. Its answers and those of a bag of n-grams are weighed together.",
        "revision not named, sha256 of its weights 53aa51",
        "read whole, in up to 4 windows of the encoder's positions that share 64",
        "60,000 train, 10,000 test texts.",
        "fitted to the same texts in 31.4 s",
        "| model | validation accuracy | loss | test accuracy | loss |",
        "|---|---|---|---|---|",
        "| bag of n-grams | 90.23% | 0.2500 | 91.23% | 0.2400 |",
        "| both, stacked | 91.34% | 0.2100 | 92.34% | 0.2000 |",
        "The encoder does not beat a bag of n-grams on the test split.",
        "on 10,000 texts, loss 0.4568",
        "| class | precision | recall | F1 | texts |",
        "Before both are weighed, logits of encoder and head are divided by a temperature of 1.250",
        "![Accuracy by length](figures/accuracy-by-length.png)",
    ],
)
def test_the_body_of_a_text_run_states_the_record(tmp_path: Path, fact: str) -> None:
    assert fact in text_card(tmp_path)[1]


@pytest.mark.parametrize(
    ("section", "key", "value", "fact"),
    [
        ("model", "unfreeze_layers", 2, "The top 2 layers of the encoder are trained"),
        ("model", "unfreeze_layers", "all", "All of the encoder is trained"),
        ("settings", "layers", "last", "(last layer, width 384)"),
        ("settings", "layers", [4, 6], "(mean of layers 4, 6, width 384)"),
        ("truncation", "kind", "head", "the beginning is read, up to the encoder's positions"),
        ("truncation", "kind", "tail", "the end is read, up to the encoder's positions"),
        ("truncation", "kind", "head+tail", "128 word pieces of the beginning and the end"),
        ("truncation", "max_tokens", 256, "windows of 256 tokens"),
        ("config", "stack", None, "It answers alone."),
        ("config", "stack", None, "Logits are divided by a temperature of 1.250, fitted on"),
        ("model", "head", {"kind": "gru"}, "A bidirectional GRU on states of"),
        ("config", "temperature", 1.0, "No temperature was fitted"),
    ],
)
def test_other_text_models_are_described_as_they_are(
    tmp_path: Path, section: str, key: str, value: object, fact: str
) -> None:
    config = copy.deepcopy(TEXT_CONFIG)
    settings = config["encoder"]["settings"]
    places = {"config": config, "model": config["model"], "settings": settings}
    (settings["truncation"] if section == "truncation" else places[section])[key] = value
    assert fact in text_card(tmp_path, config=config)[1]


def test_without_validation_and_test_no_models_are_compared(tmp_path: Path) -> None:
    record = {key: value for key, value in TEXT_RECORD.items() if key != "test"}
    record |= {"models": {"neural": {}, "ngrams": {}}, "verdict": ""}
    body = text_card(tmp_path, record)[1]
    assert "Beside a bag" not in body
    assert "Accuracy" not in body.replace("Accuracy by length", "")
