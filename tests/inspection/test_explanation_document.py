"""Explanations as JSON: everything a figure or a page needs, and nothing that is not a number."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from games import additive

from qkv.explanation.explanation import ImageExplanation, TextExplanation, Word
from qkv.explanation.faithfulness import measure_faithfulness

VALUES = np.array([0.25, -0.5])
COMMON: dict[str, Any] = {
    "input": "x",
    "method": "occlusion",
    "label": "bag",
    "probability": 0.75,
    "probabilities": {"shoe": 0.25, "bag": 0.75},
    "contributions": VALUES,
    "signed": True,
    "unit": "probability",
    "faithfulness": measure_faithfulness(additive([0.25, 0.5]), VALUES, 1),
    "seconds": 0.5,
    "completeness_gap": -0.125,
    "coarsened": None,
}


def through_json(document: dict[str, Any]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    assert loaded["contributions"] == [0.25, -0.5]
    assert loaded["faithfulness"]["beats_random"] is False
    plain = {key: loaded[key] for key in COMMON if key not in {"contributions", "faithfulness"}}
    assert plain == {key: COMMON[key] for key in plain}
    return {key: value for key, value in loaded.items() if key not in COMMON}


def test_of_an_image() -> None:
    found = ImageExplanation(
        **COMMON,
        pixels=np.array([[0, 255]], dtype=np.uint8),
        grid_size=1,
        heat=np.array([[0.5, -1.0]], dtype=np.float32),
    )
    assert through_json(found.document()) == {
        "task": "vision",
        "pixels": [[0, 255]],
        "grid_size": 1,
        "heat": [[0.5, -1.0]],
    }


def test_of_a_text() -> None:
    words = (Word("good", 0, 4), Word("film", 5, 9))
    found = TextExplanation(**COMMON, text="good film", words=words, read=2)
    assert through_json(found.document()) == {
        "task": "text",
        "text": "good film",
        "words": [
            {"text": "good", "start": 0, "end": 4},
            {"text": "film", "start": 5, "end": 9},
        ],
        "read": 2,
    }
