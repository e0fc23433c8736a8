from __future__ import annotations

import numpy as np
from made_up import some_logits
from readability import assert_readable

from qkv.evaluation.metrics import evaluate_predictions
from qkv.figures.evaluation import draw_reliability


def test_reliability_shows_bins_and_scores() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 300)
    document = evaluate_predictions(some_logits(labels, 4), labels, list("abcd"))["calibration"]
    figure = draw_reliability(document)
    assert_readable(figure)
    filled = [entry for entry in document["bins"] if entry["count"]]
    accuracy, gaps = figure.axes[0].containers
    np.testing.assert_allclose([b.get_height() for b in accuracy], [e["accuracy"] for e in filled])
    tops = [bar.get_y() + bar.get_height() for bar in gaps]
    np.testing.assert_allclose(tops, [entry["confidence"] for entry in filled])
    counts = [text.get_text() for text in figure.axes[1].texts]
    assert counts == [str(entry["count"]) for entry in filled]
    title = figure.axes[0].get_title()
    assert f"{100 * document['expected_calibration_error']:.2f} %" in title
    assert f"{document['brier']:.4f}" in title
