"""A text without some words is answered as that text is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_text_models import LONG, TEXT, VARIANTS, tiny_classifier

from qkv.errors import DataError
from qkv.explanation.text_masking import MaskedText
from qkv.explanation.text_words import split_words
from qkv.text.classifier import TextClassifier


def without(text: str, keep: np.ndarray) -> str:
    """A blank in the place of each word that goes, from the last to the first."""
    for word, kept in reversed(list(zip(split_words(text), keep, strict=True))):
        if not kept:
            text = f"{text[: word.start]} {text[word.end :]}"
    return text


@pytest.mark.parametrize("variant", VARIANTS)
def test_answers_are_those_of_the_text_that_is_left(bert: Path, variant: str) -> None:
    classifier = tiny_classifier(bert, **VARIANTS[variant])
    masked = MaskedText(classifier, LONG)
    random = np.random.default_rng(0)
    keep = random.random((6, masked.parts)) < random.random((6, 1))
    keep[0], keep[1] = True, False
    left = [without(LONG, row) for row in keep]
    assert masked.texts(keep) == left
    assert left[0] == LONG
    assert not left[1].strip()
    found = masked.probabilities(keep)
    assert (found.dtype, found.shape) == (np.float64, (6, len(classifier.class_names)))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    for row, text in zip(found, left, strict=True):
        filled = classifier.predict_proba([text])[0] if text.strip() else None
        alone = classifier.logits([text]).double().softmax(dim=1)[0].numpy()
        np.testing.assert_allclose(row, alone, atol=1e-4)
        if filled is not None:
            np.testing.assert_allclose(row, filled, atol=1e-4)
    assert np.ptp(found[:, 0]) > 0.01
    empty = classifier.logits([""]).double().softmax(dim=1)[0].numpy()
    np.testing.assert_allclose(found[1], empty, atol=1e-6)


def test_what_is_asked_twice_is_computed_once(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masked = MaskedText(tiny_classifier(bert), TEXT)
    rows = np.random.default_rng(1).random((4, masked.parts)) < 0.5
    expected = masked.probabilities(rows)
    asked: list[int] = []
    original = TextClassifier.logits

    def counted(self: TextClassifier, texts: list[str]) -> torch.Tensor:
        asked.append(len(texts))
        return original(self, texts)

    monkeypatch.setattr(TextClassifier, "logits", counted)
    found = masked.probabilities(rows[[3, 0, 0, 1, 2, 3]])
    assert asked == [4]
    np.testing.assert_allclose(found, expected[[3, 0, 0, 1, 2, 3]], atol=1e-6)


def test_neighbours_stay_apart(bert: Path) -> None:
    masked = MaskedText(tiny_classifier(bert), "good--film, so\tso")
    keep = np.array([[True, False, True, False, True, True]])
    assert masked.texts(keep) == ["good film  so\tso"]


def test_there_is_no_empty_text(bert: Path) -> None:
    with pytest.raises(DataError, match="the text is empty"):
        MaskedText(tiny_classifier(bert), " \n ")
