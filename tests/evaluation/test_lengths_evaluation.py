"""Accuracy by length: what the bins hold, against a plain count."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import ShapeError
from qkv.evaluation.metrics import accuracy_by_length, wilson_interval


def test_bins_of_equal_count_by_hand() -> None:
    lengths = np.array([9, 2, 3, 8, 1, 7])
    labels = np.array([0, 0, 1, 1, 0, 1])
    predicted = np.array([0, 0, 0, 1, 0, 0])
    assert accuracy_by_length(lengths, labels, predicted, bins=2) == {
        "examples": 6,
        "accuracy": 4 / 6,
        "bins": [
            {
                "shortest": low,
                "longest": high,
                "count": 3,
                "accuracy": 2 / 3,
                "accuracy_interval_95": list(wilson_interval(2, 3)),
            }
            for low, high in ((1, 3), (7, 9))
        ],
    }


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 15),
)
def test_every_text_is_in_one_bin(texts: list[tuple[int, bool]], bins: int) -> None:
    lengths, wrong = np.array([t[0] for t in texts]), np.array([t[1] for t in texts])
    document = accuracy_by_length(lengths, np.zeros(len(texts), int), wrong.astype(int), bins)
    assert json.loads(json.dumps(document)) == document
    assert document["examples"] == len(texts)
    assert document["accuracy"] == pytest.approx(1 - wrong.mean())
    assert 1 <= len(document["bins"]) <= bins
    assert sum(entry["count"] for entry in document["bins"]) == len(texts)
    last = -1
    for entry in document["bins"]:
        assert entry["shortest"] > last
        last = entry["longest"]
        inside = (lengths >= entry["shortest"]) & (lengths <= last)
        assert entry["count"] == inside.sum() > 0
        assert entry["accuracy"] == pytest.approx(1 - wrong[inside].mean())
        low, high = entry["accuracy_interval_95"]
        assert low <= entry["accuracy"] <= high


@pytest.mark.parametrize("bins", [1, 3, 10])
def test_counts_are_equal_where_lengths_differ(bins: int) -> None:
    lengths = np.random.default_rng(0).permutation(1000)
    labels = np.zeros(1000, int)
    counts = [entry["count"] for entry in accuracy_by_length(lengths, labels, labels, bins)["bins"]]
    assert len(counts) == bins
    assert max(counts) - min(counts) <= 1


def test_texts_of_one_length_are_one_bin() -> None:
    labels = np.zeros(40, int)
    (entry,) = accuracy_by_length(np.full(40, 7), labels, labels)["bins"]
    assert (entry["shortest"], entry["longest"], entry["count"]) == (7, 7, 40)


@pytest.mark.parametrize(
    ("lengths", "labels", "predicted", "bins"),
    [
        (np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), 10),
        (np.zeros(3, int), np.zeros(2, int), np.zeros(3, int), 10),
        (np.zeros(3, int), np.zeros(3, int), np.zeros((3, 1), int), 10),
        (np.zeros(3), np.zeros(3, int), np.zeros(3, int), 10),
        (np.zeros(3, int), np.zeros(3, int), np.zeros(3, int), 0),
    ],
)
def test_what_does_not_fit_is_refused(lengths: Any, labels: Any, predicted: Any, bins: int) -> None:
    with pytest.raises(ShapeError, match="accuracy by length"):
        accuracy_by_length(lengths, labels, predicted, bins)
