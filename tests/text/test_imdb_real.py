"""The real IMDB, where this machine has it."""

from __future__ import annotations

import numpy as np
import pytest

from qkv.data.dataset import TextDataset
from qkv.text.imdb import IMDB

pytestmark = pytest.mark.real_data


def test_counts_labels_and_texts(imdb: TextDataset) -> None:
    assert imdb.test is not None
    assert imdb.class_names == ("neg", "pos")
    for split in (imdb.train, imdb.test):
        assert len(split) == 25_000
        np.testing.assert_array_equal(np.bincount(split.labels), [12_500, 12_500])
        assert not any("<br />" in text for text in split.texts)
    # Bytes as the hub states them for this data set: 12 for each row beside the texts.
    # Each break was 6 bytes and is 1.
    for split, stated in ((imdb.train, 33_432_823), (imdb.test, 32_650_685)):
        breaks = sum(text.count("\n") for text in split.texts)
        size = sum(len(text.encode()) for text in split.texts)
        assert size + 5 * breaks + 12 * len(split) == stated


def test_it_is_the_published_one(imdb: TextDataset) -> None:
    assert imdb.sha256 == dict(IMDB.sha256)
    assert imdb.notes == ()


def test_known_reviews_have_their_labels(imdb: TextDataset) -> None:
    labels = dict(zip(imdb.train.texts, imdb.train.labels.tolist(), strict=True))
    known = {
        "Story of a man who has unnatural feelings for a pig.": 0,
        "Bromwell High is a cartoon comedy.": 1,
    }
    for beginning, label in known.items():
        (found,) = {labels[text] for text in labels if text.startswith(beginning)}
        assert found == label


def test_a_stretch_of_it_has_both_classes(imdb: TextDataset) -> None:
    for start in range(0, 25_000, 1000):
        share = imdb.train.labels[start : start + 1000].mean()
        assert 0.4 < share < 0.6
