from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from made_up import FASHION, some_epochs, some_images, some_logits, some_steps
from PIL import Image

from qkv.evaluation.metrics import accuracy_by_length, evaluate_predictions
from qkv.figures.run import draw_run_figures


def a_run(mistakes: bool = True) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    labels = np.random.default_rng(0).integers(0, 10, 60)
    logits = some_logits(labels, 10) if mistakes else 9 * np.eye(10, dtype=np.float32)[labels]
    wrong = np.flatnonzero(logits.argmax(axis=1) != labels)[:4]
    record = {
        "data": {"class_names": FASHION},
        "epochs": some_epochs(2),
        "test": evaluate_predictions(logits, labels, FASHION),
    }
    results = {
        "test_logits": logits,
        "test_labels": labels,
        "sample_images": some_images(3),
        "sample_indices": np.arange(3),
        "mistake_images": some_images(len(wrong)),
        "mistake_indices": wrong,
    }
    return record, [*some_steps(2, 9), {"event": "epoch", "epoch": 1}], results


def test_a_run_is_drawn_twice_to_the_same_bytes(tmp_path: Path) -> None:
    names = ("curves", "confusion", "reliability", "predictions", "mistakes")
    once = draw_run_figures(*a_run(), tmp_path / "once")
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.grid": True}):
        twice = draw_run_figures(*a_run(), tmp_path / "twice")
    assert [path.name for path in once] == [f"{n}.{kind}" for n in names for kind in ("png", "svg")]
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]
    assert sorted((tmp_path / "once").iterdir()) == sorted(once)  # nothing temporary stays
    for path in once:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
                assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
                assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        else:
            assert "</svg>" in path.read_text(encoding="utf-8")[-20:]


def test_what_a_run_lacks_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "mistakes.png").write_bytes(b"of an earlier test")
    record, log, results = a_run(mistakes=False)
    assert len(results["mistake_indices"]) == 0
    drawn = draw_run_figures({**record, "test": None}, log, results, tmp_path)
    assert [path.stem for path in drawn] == ["curves", "curves", "predictions", "predictions"]
    assert sorted(tmp_path.iterdir()) == sorted(drawn)


def a_text_run() -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    labels = np.random.default_rng(0).integers(0, 2, 60)
    logits = some_logits(labels, 2)
    predicted = logits.argmax(axis=1)
    record = {
        "data": {"class_names": ["neg", "pos"]},
        "epochs": some_epochs(2),
        "test": {
            **evaluate_predictions(logits, labels, ["neg", "pos"]),
            "by_length": accuracy_by_length(np.arange(60), labels, predicted),
        },
        "mistakes": [
            {"text": "Good, they say.", "label": "neg", "predicted": "pos", "probability": 0.9}
        ],
    }
    return record, some_steps(2, 9), {"test_logits": logits, "test_labels": labels}


def test_a_text_run_has_its_own_figures(tmp_path: Path) -> None:
    (tmp_path / "predictions.png").write_bytes(b"of another run")
    drawn = draw_run_figures(*a_text_run(), tmp_path)
    names = ("curves", "confusion", "reliability", "lengths", "mistakes")
    assert [path.name for path in drawn] == [
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    ]
    assert sorted(tmp_path.iterdir()) == sorted(drawn)
    again = draw_run_figures(*a_text_run(), tmp_path / "again")
    assert [path.read_bytes() for path in drawn] == [path.read_bytes() for path in again]


def test_a_text_run_without_test_or_mistakes(tmp_path: Path) -> None:
    record, log, results = a_text_run()
    draw_run_figures(record, log, results, tmp_path)
    drawn = draw_run_figures({**record, "mistakes": []}, log, results, tmp_path)
    assert [path.stem for path in drawn[::2]] == ["curves", "confusion", "reliability", "lengths"]
    assert sorted(tmp_path.iterdir()) == sorted(drawn)
    untested = {key: record[key] for key in ("data", "epochs")}
    drawn = draw_run_figures(untested, log, {}, tmp_path / "untested")
    assert [path.stem for path in drawn] == ["curves", "curves"]
