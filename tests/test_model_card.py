"""The model card: true to the record, and readable by the hub."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from qkv.model_card import model_card
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
