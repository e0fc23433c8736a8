"""`explain`: the right way for each task, from a classifier or a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import qkv
from qkv.errors import DataError, RecipeError, RunError
from qkv.explanation.explain import default_method, explain, methods_of
from qkv.explanation.explanation import ImageExplanation, TextExplanation
from qkv.explanation.vision import VISION_METHODS, explain_image
from qkv.runs import Run
from qkv.vision.vit import ViT, ViTSettings
from small_reviews import write_reviews
from tiny_bert import tiny_bert

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
