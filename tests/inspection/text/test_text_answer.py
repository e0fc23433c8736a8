"""The answer as log odds: both models together, and what the n-grams say of a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_text_models import LONG, TEXT, VARIANTS, log_odds_of, tiny_classifier

from qkv.explanation import text_masking as module
from qkv.explanation.text_masking import Answer, MaskedText, equal_spans


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("text", [TEXT, LONG], ids=["short", "long"])
def test_log_odds_are_those_of_the_classifier(bert: Path, variant: str, text: str) -> None:
    classifier = tiny_classifier(bert, **VARIANTS[variant])
    masked = MaskedText(classifier, text)
    logits = classifier.neural_logits([text])
    for label in range(len(classifier.class_names)):
        found = Answer(masked, label).log_odds(logits).item()
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
        found = Answer(masked, label).ngram_contributions()
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
    np.testing.assert_array_equal(Answer(masked, 1).ngram_contributions(), np.zeros(masked.parts))


def test_of_a_very_long_text_neighbours_go_together(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked = MaskedText(tiny_classifier(bert, stacked=True), TEXT)
    monkeypatch.setattr(module, "COUNTED_WORDS", 4 * masked.parts)
    found = Answer(masked, 1).ngram_contributions()
    spans = equal_spans(masked.parts, 4)
    keep = np.concatenate([np.ones((1, masked.parts), dtype=np.bool_), spans.all_but_one()])
    assert masked.classifier.ngrams is not None
    spoken = masked.classifier.ngrams.log_probabilities(masked.texts(keep))
    odds = 0.6 * (spoken[:, 1] - spoken[:, 0])
    np.testing.assert_allclose(found, spans.shared(odds[0] - odds[1:]), atol=1e-5)
