"""Explanations: names of methods and classes, documents, and the right way for each task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from games import additive

import qkv
from qkv.errors import DataError, RecipeError, RunError
from qkv.explanation.explain import default_method, explain, methods_of
from qkv.explanation.explanation import (
    ImageExplanation,
    TextExplanation,
    Word,
    chosen_label,
    chosen_method,
)
from qkv.explanation.faithfulness import measure_faithfulness
from qkv.explanation.vision import VISION_METHODS, explain_image
from qkv.runs import Run
from qkv.vision.vit import ViT, ViTSettings
from small_reviews import write_reviews
from tiny_bert import tiny_bert

METHODS = {"occlusion": 1, "shapley": 2}
CLASSES = ("T-shirt/top", "Trouser", "Bag")


def test_methods() -> None:
    assert chosen_method(None, METHODS, "shapley") == "shapley"
    assert chosen_method("occlusion", METHODS, "shapley") == "occlusion"
    with pytest.raises(RecipeError, match="called 'oclusion'; did you mean 'occlusion'"):
        chosen_method("oclusion", METHODS, "shapley")
    with pytest.raises(RecipeError, match="valid methods are occlusion, shapley"):
        chosen_method("", METHODS, "shapley")
    with pytest.raises(RecipeError, match="called 'state-gradients'"):
        chosen_method("state-gradients", METHODS, "shapley")
    now = "layer-integrated-gradients"
    assert chosen_method("state-gradients", {*METHODS, now}, "shapley") == now


def test_classes() -> None:
    assert chosen_label(None, CLASSES, 2) == 2
    assert chosen_label("Trouser", CLASSES, 2) == 1
    with pytest.raises(DataError, match="no class 'trousers'; did you mean 'Trouser'"):
        chosen_label("trousers", CLASSES, 0)


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
    "convergence_delta": -0.125,
    "coarsened": None,
}


def through_json(document: dict[str, Any]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    assert loaded["contributions"] == [0.25, -0.5]
    assert loaded["faithfulness"]["beats_random"] is False
    common = {**COMMON, "completeness_gap": COMMON["convergence_delta"]}
    del common["convergence_delta"]
    plain = {key: loaded[key] for key in common if key not in {"contributions", "faithfulness"}}
    assert plain == {key: common[key] for key in plain}
    return {key: value for key, value in loaded.items() if key not in common}


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


MODEL = {
    "image_size": 8, "channels": 1, "num_classes": 2, "patch_size": 4, "dim": 8, "depth": 1,
    "num_heads": 2, "head_dim": 4, "mlp_dim": 16,
}  # fmt: skip
ARRAY = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
TEXT = "what a fine good film"


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = {
        "format": 1,
        "task": "vision",
        "model": MODEL,
        "preprocessing": {"image_size": 8, "channels": 1},
        "id2label": {"0": "shoe", "1": "bag"},
    }
    torch.manual_seed(0)
    run = Run.create(tmp_path_factory.mktemp("vision") / "run", config=config, record={})
    run.save_weights(ViT(ViTSettings.parse(MODEL, where="test")).state_dict())
    return run


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("text")
    changes = [
        f"encoder.name={tiny_bert(folder / 'bert')}",
        "encoder.layers=last",
        "training.epochs=1",
        "training.batch_tokens=300",
    ]
    recipe = qkv.load_recipe("text", None, changes)
    return qkv.train(recipe, out=folder / "run", data=write_reviews(folder / "reviews.csv"))


def test_an_image(vision: Run) -> None:
    classifier = qkv.load(vision)
    expected = explain_image(classifier, ARRAY, method="occlusion", label="bag", seed=3)
    for source in (classifier, vision, vision.path, str(vision.path)):
        found = explain(source, ARRAY, method="occlusion", label="bag", seed=3)
        assert isinstance(found, ImageExplanation)
        np.testing.assert_array_equal(found.contributions, expected.contributions)
        assert found.faithfulness == expected.faithfulness
    assert methods_of(classifier) == tuple(VISION_METHODS)
    assert explain(vision, ARRAY).method == default_method(classifier)


def test_a_text(text: Run) -> None:
    classifier = qkv.load(text)
    found = explain(classifier, TEXT, method="occlusion")
    assert isinstance(found, TextExplanation)
    assert [word.text for word in found.words] == TEXT.split()
    assert found.label == classifier.predict([TEXT])[0].label
    default = default_method(classifier)
    assert default in methods_of(classifier)
    assert explain(text.path, TEXT).method == default


def test_each_task_has_methods_of_its_own(vision: Run, text: Run) -> None:
    assert "rollout" in methods_of(qkv.load(vision))
    assert "rollout" not in methods_of(qkv.load(text))
    with pytest.raises(RecipeError, match="called 'rollout'"):
        explain(text, TEXT, method="rollout")
    with pytest.raises(DataError, match="no class 'bags'; did you mean 'bag'"):
        explain(vision, ARRAY, label="bags")


def test_what_a_model_cannot_read(vision: Run, text: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ndarray, and the model reads texts; give a text"):
        explain(text, ARRAY)
    with pytest.raises(DataError, match="what a fine good film"):
        explain(vision, TEXT)
    with pytest.raises(RunError):
        explain(tmp_path / "no run", ARRAY)
