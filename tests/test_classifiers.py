"""From a run folder to a classifier: what loads, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import qkv
from qkv.errors import QKVError, RecipeError, RunError
from qkv.runs import CONFIG, Run
from qkv.vision.vit import ViT, ViTSettings

MODEL = {
    "image_size": 8, "channels": 1, "num_classes": 3, "patch_size": 4, "dim": 8, "depth": 1,
    "num_heads": 2, "head_dim": 4, "mlp_dim": 16,
}  # fmt: skip
CONFIGURATION: dict[str, Any] = {
    "format": 1,
    "task": "vision",
    "model": MODEL,
    "preprocessing": {"image_size": 8, "channels": 1},
    "id2label": {"0": "zero", "1": "one", "2": "two"},
}


@pytest.fixture
def model() -> ViT:
    torch.manual_seed(0)
    return ViT(ViTSettings.parse(MODEL, where="test")).eval()


@pytest.fixture
def run(tmp_path: Path, model: ViT) -> Run:
    run = Run.create(tmp_path / "run", config=CONFIGURATION, record={})
    run.save_weights(model.state_dict())
    return run


def test_a_run_gives_its_model_back(run: Run, model: ViT) -> None:
    array = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    expected = model((torch.from_numpy(array)[None, None] / 255 - 0.5) / 0.5).softmax(1)[0]
    for source in (run, run.path, str(run.path)):
        classifier = qkv.load(source)
        assert classifier.class_names == ("zero", "one", "two")
        assert classifier.device == torch.device("cpu")
        assert not classifier.model.training
        probabilities = classifier.predict_proba([array])[0]
        np.testing.assert_allclose(probabilities, expected.detach().numpy(), atol=1e-6)


def test_labels_go_by_number(run: Run) -> None:
    names = {str(number): f"class {number}" for number in reversed(range(12))}
    wide = {**MODEL, "num_classes": 12}
    run._write_json(CONFIG, {**CONFIGURATION, "model": wide, "id2label": names})
    run.save_weights(ViT(ViTSettings.parse(wide, where="test")).state_dict())
    assert qkv.load(run).class_names == tuple(f"class {number}" for number in range(12))


@pytest.mark.parametrize(
    ("changes", "error", "problem"),
    [
        ({"task": "sound"}, RunError, "task is 'sound'"),
        ({"task": None}, RunError, "task is None"),
        ({"id2label": None}, RunError, "lacks"),
        ({"id2label": {"0": "a", "2": "b", "3": "c"}}, RunError, "lacks '1'"),
        ({"id2label": ["a", "b", "c"]}, RunError, "lacks"),
        ({"id2label": {"0": "a", "1": "b"}}, RunError, r"\(1, 8, 2\)"),
        ({"preprocessing": {"image_size": 9, "channels": 1}}, RunError, r"\(1, 9, 3\)"),
        ({"preprocessing": {"image_size": 8, "channels": 3}}, RunError, r"\(3, 8, 3\)"),
        ({"preprocessing": {"image_size": 8}}, RecipeError, "channels: Field required"),
        ({"model": {**MODEL, "dim": 12}}, RunError, "weights and config.json disagree: size"),
        ({"model": {**MODEL, "depth": 2}}, RunError, "weights and config.json disagree: Miss"),
        ({"model": {**MODEL, "heads": 2}}, RecipeError, "unknown key 'heads'"),
        ({"model": 3}, RecipeError, "valid dictionary"),
    ],
    ids=str,
)
def test_a_config_that_does_not_hold(
    run: Run, changes: dict[str, Any], error: type[QKVError], problem: str
) -> None:
    run._write_json(CONFIG, {**CONFIGURATION, **changes})
    with pytest.raises(error, match=problem) as caught:
        qkv.load(run)
    assert "config.json" in caught.value.problem
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", list(CONFIGURATION)[1:])
def test_a_config_that_lacks_something(run: Run, key: str) -> None:
    run._write_json(CONFIG, {k: v for k, v in CONFIGURATION.items() if k != key})
    with pytest.raises(RunError, match=key):
        qkv.load(run)


def test_no_run_and_no_weights(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        qkv.load(tmp_path)
    run = Run.create(tmp_path / "new", config=CONFIGURATION, record={})
    with pytest.raises(RunError, match="has no weights yet"):
        qkv.load(run)


def test_importing_the_package_does_not_wait_for_torch() -> None:
    import subprocess
    import sys

    code = "import sys, qkv; qkv.QKVError; print('torch' in sys.modules, qkv.load.__module__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "qkv.loading"]


def test_the_package_names_what_it_has() -> None:
    assert all(hasattr(qkv, name) for name in qkv.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        qkv.trian  # noqa: B018
