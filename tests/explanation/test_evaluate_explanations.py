"""Faithfulness over a sample: who is chosen, what is averaged, what is refused."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import qkv
from qkv.errors import QKVError, RecipeError
from qkv.evaluation.metrics import wilson_interval
from qkv.explanation.evaluate import evaluate_explanations, summary
from qkv.explanation.explain import explain, methods_of
from qkv.explanation.faithfulness import Faithfulness
from qkv.progress import Reporter
from qkv.training.recipe import load_recipe
from small_reviews import write_reviews
from tiny_bert import tiny_bert
from tolerance import atol

# Sums of up to about a hundred products, added in another order.
ROUNDING = atol(torch.float32, 100)

QUICK = ["occlusion", "attention"]


def paint(root: Path, count: int, seed: int) -> Path:
    generator = np.random.default_rng(seed)
    for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.array(colour) + generator.integers(-40, 40, (8, 8, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on coloured squares."""
    folder = tmp_path_factory.mktemp("images")
    changes = [
        *("model.dim=8", "model.depth=1", "model.num_heads=2", "model.head_dim=4"),
        *("model.mlp_dim=16", "model.stem=linear", "data.image_size=8", "training.epochs=1"),
        *("training.batch_size=8", "training.device=cpu"),
    ]
    data = paint(folder / "photos", 20, 1)
    qkv.train(load_recipe("vision", None, changes), out=folder / "run", data=data)
    return folder / "run"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table of reviews."""
    folder = tmp_path_factory.mktemp("texts")
    changes = [
        f"encoder.name={tiny_bert(folder / 'bert')}",
        *("encoder.layers=last", "training.epochs=1", "training.batch_tokens=300"),
        "training.device=cpu",
    ]
    data = write_reviews(folder / "reviews.csv")
    qkv.train(load_recipe("text", None, changes), out=folder / "run", data=data)
    return folder / "run"


class Seen(Reporter):
    """Remembers the progress."""

    def __init__(self) -> None:
        self.counts: list[tuple[int, int]] = []

    def progress(self, what: str, unit: str) -> Any:
        if what != "explain":
            return lambda done, total: None
        return lambda done, total: self.counts.append((done, total))


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    methods = {
        name: {key: value for key, value in entry.items() if key != "median_seconds"}
        for name, entry in document["methods"].items()
    }
    return {**document, "methods": methods}


def test_the_document_of_images(images: Path) -> None:
    seen = Seen()
    document = evaluate_explanations(images, methods=QUICK, sample=3, reporter=seen)
    json.dumps(document, allow_nan=False)
    assert (document["task"], document["example"], document["examples"]) == ("vision", "image", 3)
    assert document["default_method"] in methods_of(qkv.load(images))
    assert list(document["methods"]) == QUICK
    for entry in document["methods"].values():
        assert set(entry) == {
            "score", "random_score", "deletion_area", "random_deletion_area", "beats_random",
            "beats_random_interval_95", "median_seconds",
        }  # fmt: skip
        assert entry["median_seconds"] > 0
        low, high = entry["beats_random_interval_95"]
        assert 0 <= low <= entry["beats_random"] <= high <= 1
    assert seen.counts[0] == (0, 6)
    assert seen.counts[-1] == (6, 6)
    # Both methods are compared with the same random orders of the same images.
    first, second = document["methods"].values()
    assert first["random_score"] == second["random_score"]
    assert first["score"] != second["score"]


def test_it_is_the_mean_over_the_examples(images: Path, tmp_path: Path) -> None:
    data = paint(tmp_path / "few", 2, 9)
    document = evaluate_explanations(images, data=data, methods=["occlusion"], sample=100)
    assert document["examples"] == 4
    assert document["data"] == str(data)
    classifier = qkv.load(images)
    paths = sorted(data.rglob("*.png"))
    alone = [explain(classifier, path, method="occlusion").faithfulness for path in paths]
    entry = document["methods"]["occlusion"]
    # Random orders differ by example; what does not depend on them must be the same.
    assert entry["deletion_area"] == pytest.approx(
        statistics.fmean(one.deletion_area for one in alone), abs=ROUNDING
    )
    assert entry["score"] == pytest.approx(
        statistics.fmean(one.score for one in alone), abs=ROUNDING
    )


def test_the_seed_chooses_the_sample(images: Path) -> None:
    once, again = (
        without_times(evaluate_explanations(images, methods=["attention"], sample=2, seed=5))
        for _ in range(2)
    )
    assert once == again
    others = {
        evaluate_explanations(images, methods=["attention"], sample=2, seed=seed)["methods"][
            "attention"
        ]["score"]
        for seed in range(5)
    }
    assert len(others) > 1


def test_texts_and_their_own_test_split(texts: Path) -> None:
    document = evaluate_explanations(texts, sample=2)
    assert (document["task"], document["example"], document["examples"]) == ("text", "text", 2)
    assert list(document["methods"]) == list(methods_of(qkv.load(texts)))


def test_another_table_with_columns_of_its_own(texts: Path, tmp_path: Path) -> None:
    table = tmp_path / "others.csv"
    table.write_text("body,grade,mark\na good film,good,1\na poor book,bad,2\n")
    columns = {"text_column": "body", "label_column": "grade"}
    document = evaluate_explanations(texts, data=table, methods=["occlusion"], columns=columns)
    assert document["examples"] == 2
    with pytest.raises(QKVError, match="column"):
        evaluate_explanations(texts, data=table, methods=["occlusion"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["occlsion"]}, "did you mean 'occlusion'"),
        ({"methods": []}, "no method is named"),
        ({"sample": 0}, "a sample of 0"),
    ],
)
def test_mistakes_are_refused(images: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        evaluate_explanations(images, **arguments)


def test_a_method_named_twice_is_measured_once(images: Path) -> None:
    document = evaluate_explanations(images, methods=["attention", "attention"], sample=1)
    assert list(document["methods"]) == ["attention"]


def test_a_summary_counts_and_averages() -> None:
    def explained(deletion: float, insertion: float, seconds: float) -> Any:
        flat = [(value, value) for value in (deletion, insertion, 0.5, 0.4)]
        return SimpleNamespace(
            faithfulness=Faithfulness((0.0, 1.0), *flat, random_orders=1), seconds=seconds
        )

    entry = summary([explained(0.2, 0.9, 1.0), explained(0.6, 0.7, 2.0), explained(0.1, 0.8, 9.0)])
    assert entry["score"] == pytest.approx((0.7 + 0.1 + 0.7) / 3)
    assert entry["random_score"] == pytest.approx(-0.1)
    assert entry["deletion_area"] == pytest.approx(0.3)
    assert entry["random_deletion_area"] == pytest.approx(0.5)
    assert entry["beats_random"] == pytest.approx(2 / 3)
    assert entry["beats_random_interval_95"] == list(wilson_interval(2, 3))
    assert entry["median_seconds"] == 2.0
