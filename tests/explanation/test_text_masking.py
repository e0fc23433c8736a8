"""Texts without some words: how they are read, spans of words, and what n-grams lose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_text_models import LONG, TEXT, VARIANTS, log_odds_of, tiny_classifier

from qkv.errors import DataError
from qkv.explanation import text_masking as module
from qkv.explanation.faithfulness import BoolArray, FloatArray
from qkv.explanation.perturbation import occlusion
from qkv.explanation.text_masking import ClassScore, MaskedSpans, MaskedText, equal_spans
from qkv.explanation.text_words import split_words
from qkv.text.classifier import TextClassifier
from tolerance import atol

# Sums of up to about a hundred products, added in another order.
ROUNDING = atol(torch.float32, 100)


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
    # Blanks alone are read as the empty text.
    assert torch.equal(classifier.logits([left[1]]), classifier.logits([""]))


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
    np.testing.assert_allclose(found, expected[[3, 0, 0, 1, 2, 3]], atol=ROUNDING)


def test_neighbours_stay_apart(bert: Path) -> None:
    masked = MaskedText(tiny_classifier(bert), "good--film, so\tso")
    keep = np.array([[True, False, True, False, True, True]])
    assert masked.texts(keep) == ["good film  so\tso"]


def test_there_is_no_empty_text(bert: Path) -> None:
    with pytest.raises(DataError, match="the text is empty"):
        MaskedText(tiny_classifier(bert), " \n ")


WEIGHTS = np.array([0.1, 0.05, 0.2, 0.0, 0.15])


class Additive:
    """Class 1 has the weights of the parts that are there."""

    parts = len(WEIGHTS)

    def probabilities(self, keep: BoolArray) -> FloatArray:
        value = keep @ WEIGHTS
        return np.stack([1 - value, value], axis=1)


@given(parts=st.integers(1, 300), most=st.integers(0, 80))
def test_spans_are_a_partition_into_like_lengths(parts: int, most: int) -> None:
    spans = equal_spans(parts, most)
    assert 1 <= len(spans) == min(parts, max(most, 1))
    assert spans.lengths.sum() == parts
    assert spans.lengths.max() - spans.lengths.min() <= 1
    assert (np.diff(spans.of_parts) >= 0).all()
    np.testing.assert_array_equal(np.bincount(spans.of_parts), spans.lengths)
    missing = ~spans.all_but_one()
    assert missing.shape == (len(spans), parts)
    assert (missing.sum(axis=0) == 1).all()


@given(parts=st.integers(1, 50), most=st.integers(1, 60))
def test_shares_of_a_span_are_equal_and_complete(parts: int, most: int) -> None:
    spans = equal_spans(parts, most)
    values = np.random.default_rng(parts).standard_normal(len(spans))
    shares = spans.shared(values)
    np.testing.assert_allclose(np.bincount(spans.of_parts, weights=shares), values)
    for span in range(len(spans)):
        assert len(np.unique(shares[spans.of_parts == span])) == 1


def test_a_span_is_taken_away_as_a_whole() -> None:
    spans = equal_spans(5, 2)
    lost = occlusion(MaskedSpans(Additive(), spans), 1)
    np.testing.assert_allclose(lost, [WEIGHTS[spans.of_parts == span].sum() for span in (0, 1)])
    alone = equal_spans(5, 9)
    lost = occlusion(MaskedSpans(Additive(), alone), 1)
    np.testing.assert_allclose(alone.shared(lost), WEIGHTS, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("text", [TEXT, LONG], ids=["short", "long"])
def test_log_odds_are_those_of_the_classifier(bert: Path, variant: str, text: str) -> None:
    classifier = tiny_classifier(bert, **VARIANTS[variant])
    masked = MaskedText(classifier, text)
    logits = classifier.neural_logits([text])
    for label in range(len(classifier.class_names)):
        found = ClassScore(masked, label).log_odds(logits).item()
        assert found == pytest.approx(log_odds_of(classifier, text, label), abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_what_the_ngrams_lose_by_a_word(bert: Path, classes: int) -> None:
    classifier = tiny_classifier(bert, classes=classes, stacked=True)
    assert classifier.stack is not None
    assert classifier.ngrams is not None
    masked = MaskedText(classifier, TEXT)
    neural = (classifier.neural_logits([TEXT]) / 1.3).double().log_softmax(dim=1)[0].numpy()
    texts = [TEXT, *masked.texts(~np.eye(masked.parts, dtype=np.bool_))]
    for label in range(classes):
        odds = []
        for spoken in classifier.ngrams.log_probabilities(texts):
            joint = classifier.stack.log_probabilities(neural[None], spoken[None])[0]
            odds.append(joint[label] - np.log(np.exp(np.delete(joint, label)).sum()))
        expected = odds[0] - np.array(odds[1:])
        found = ClassScore(masked, label).ngram_contributions()
        assert (found.dtype, found.shape) == (np.float64, (masked.parts,))
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert abs(found).max() > 0.05
    if classes == 2:
        # Two classes' log odds add up, so the text model does not enter.
        spoken = classifier.ngrams.log_probabilities(texts)
        lost = (spoken[0, 1] - spoken[0, 0]) - (spoken[1:, 1] - spoken[1:, 0])
        np.testing.assert_allclose(found, 0.6 * lost, atol=1e-5)


def test_without_ngrams_they_say_nothing(bert: Path) -> None:
    masked = MaskedText(tiny_classifier(bert), TEXT)
    np.testing.assert_array_equal(
        ClassScore(masked, 1).ngram_contributions(), np.zeros(masked.parts)
    )


def test_of_a_very_long_text_neighbours_go_together(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked = MaskedText(tiny_classifier(bert, stacked=True), TEXT)
    monkeypatch.setattr(module, "COUNTED_WORDS", 4 * masked.parts)
    found = ClassScore(masked, 1).ngram_contributions()
    spans = equal_spans(masked.parts, 4)
    keep = np.concatenate([np.ones((1, masked.parts), dtype=np.bool_), spans.all_but_one()])
    assert masked.classifier.ngrams is not None
    spoken = masked.classifier.ngrams.log_probabilities(masked.texts(keep))
    odds = 0.6 * (spoken[:, 1] - spoken[:, 0])
    np.testing.assert_allclose(found, spans.shared(odds[0] - odds[1:]), atol=1e-5)
