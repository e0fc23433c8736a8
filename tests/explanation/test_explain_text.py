"""A text explained: by every method, for every kind of classifier and every class."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_text_models import LONG, TEXT, VARIANTS, tiny_classifier

from qkv.errors import DataError, RecipeError
from qkv.explanation import text as module
from qkv.explanation import text_masking as bounds
from qkv.explanation.faithfulness import measure_faithfulness
from qkv.explanation.perturbation import occlusion, shapley_values
from qkv.explanation.text import DEFAULT_TEXT_METHOD, TEXT_METHODS, explain_text, text_methods
from qkv.explanation.text_attention import pool_weights
from qkv.explanation.text_gradients import integrated_gradients, layer_integrated_gradients
from qkv.explanation.text_masking import MaskedSpans, MaskedText, equal_spans


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_method_explains_every_kind_of_classifier(bert: Path, variant: str) -> None:
    classifier = tiny_classifier(bert, **VARIANTS[variant])
    names = text_methods(classifier)
    assert names[0] == DEFAULT_TEXT_METHOD
    assert set(TEXT_METHODS) - set(names) == (
        {"pool-weights"} if VARIANTS[variant].get("head") else set()
    )
    prediction = classifier.predict([TEXT])[0]
    for method in names:
        found = explain_text(classifier, TEXT, method=method)
        assert (found.method, found.label, found.input) == (method, prediction.label, TEXT)
        assert found.probability == pytest.approx(prediction.probability, abs=1e-4)
        assert found.probabilities == pytest.approx(prediction.probabilities, abs=1e-4)
        assert found.contributions.dtype == np.float64
        assert found.contributions.shape == (len(found.words),)
        assert np.isfinite(found.contributions).all()
        assert np.ptp(found.contributions) > 0
        assert found.signed or found.contributions.min() >= 0
        assert found.faithfulness.deletion[0] == pytest.approx(found.probability)
        assert found.seconds > 0
        assert found.read == len(found.words)
        document = found.document()
        assert document["coarsened"] is None
        if method in {"integrated-gradients", "layer-integrated-gradients"}:
            assert abs(document["completeness_gap"]) < 0.05
        else:
            assert document["completeness_gap"] is None


def test_the_document_holds_everything(bert: Path) -> None:
    classifier = tiny_classifier(bert, classes=3, stacked=True)
    found = explain_text(classifier, TEXT, method="occlusion", label="plain")
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert document["task"] == "text"
    assert document["input"] == TEXT
    assert document["text"] == TEXT
    assert document["label"] == "plain"
    assert document["method"] == "occlusion"
    assert (document["unit"], document["signed"]) == ("probability", True)
    assert set(document["probabilities"]) == {"bad", "good", "plain"}
    assert sum(document["probabilities"].values()) == pytest.approx(1)
    assert document["probability"] == document["probabilities"]["plain"]
    assert len(document["contributions"]) == len(document["words"]) == document["read"]
    for word in document["words"]:
        assert TEXT[word["start"] : word["end"]] == word["text"]
    assert document["faithfulness"]["score"] == found.faithfulness.score
    assert document["faithfulness"]["curves"]["fractions"][-1] == 1


def test_methods_are_what_they_are_called(bert: Path) -> None:
    classifier = tiny_classifier(bert)
    masked = MaskedText(classifier, TEXT)
    expected = {
        "layer-integrated-gradients": layer_integrated_gradients(masked, 0).contributions,
        "integrated-gradients": integrated_gradients(masked, 0).contributions,
        "occlusion": occlusion(masked, 0),
        "shapley": shapley_values(masked, 0, unit="log odds", seed=7),
        "pool-weights": pool_weights(classifier, masked.read),
    }
    assert set(expected) == set(TEXT_METHODS)
    for name, values in expected.items():
        found = explain_text(classifier, TEXT, method=name, label="bad", seed=7)
        np.testing.assert_allclose(found.contributions, values, atol=1e-4)
        again = explain_text(classifier, TEXT, method=name, label="bad", seed=7)
        np.testing.assert_array_equal(found.contributions, again.contributions)
        assert found.faithfulness == again.faithfulness
    other = explain_text(classifier, TEXT, method="shapley", label="bad", seed=8)
    assert abs(other.contributions - expected["shapley"]).max() > 1e-4


def test_of_a_long_text_spans_are_taken_away(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OCCLUDED_PARTS", 5)
    classifier = tiny_classifier(bert)
    masked = MaskedText(classifier, TEXT)
    spans = equal_spans(masked.parts, 5)
    expected = spans.shared(occlusion(MaskedSpans(masked, spans), 1))
    found = explain_text(classifier, TEXT, method="occlusion", label="good")
    np.testing.assert_allclose(found.contributions, expected, atol=1e-5)


def test_what_a_text_is_not_told_apart_in_is_said(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = tiny_classifier(bert)
    masked = MaskedText(classifier, TEXT)
    tokens = masked.read.tokens
    assert masked.parts == 12
    asked: list[int] = []
    answer = MaskedText.probabilities

    def count(self: MaskedText, keep: np.ndarray) -> np.ndarray:
        asked.append(len(keep))
        return answer(self, keep)

    monkeypatch.setattr(MaskedText, "probabilities", count)
    monkeypatch.setattr(bounds, "FEWEST_SPANS", 2)
    monkeypatch.setattr(bounds, "FEWEST_STEPS", 3)
    for affordable, spans in ((100, None), (5, 5), (0, 2)):
        monkeypatch.setattr(bounds, "VARIANT_TOKENS", affordable * tokens)
        asked.clear()
        found = explain_text(classifier, TEXT, method="occlusion")
        assert found.coarsened == (spans and f"12 words in {spans} spans")
        assert asked[1] == 1 + (spans or 12)  # the answer comes first
    monkeypatch.setattr(bounds, "VARIANT_TOKENS", 8 * 4 * tokens)
    assert explain_text(classifier, TEXT, method="shapley").coarsened == "12 words in 4 spans"
    for affordable, steps in ((32, None), (7, 7), (0, 3)):
        monkeypatch.setattr(bounds, "PATH_TOKENS", affordable * tokens)
        found = explain_text(classifier, TEXT, method="integrated-gradients")
        assert found.document()["coarsened"] == (steps and f"{steps} steps in place of 32")
        assert found.convergence_delta is not None
    for method in ("layer-integrated-gradients", "pool-weights"):  # they read the text once
        assert explain_text(classifier, TEXT, method=method).coarsened is None


def test_ngrams_that_are_counted_by_spans_are_told(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "COUNTED_WORDS", 36)
    monkeypatch.setattr(bounds, "PATH_TOKENS", 1)
    classifier = tiny_classifier(bert, stacked=True)
    for method, before in (
        ("integrated-gradients", "4 steps in place of 32; "),
        ("layer-integrated-gradients", ""),
    ):
        found = explain_text(classifier, TEXT, method=method)
        assert found.coarsened == f"{before}n-grams: 12 words in 3 spans"


def test_a_review_is_explained_word_by_word() -> None:
    """What the encoder reads at once is not coarsened; what it reads in many windows is."""
    for tokens, words, occluded, shapley, steps in (
        (512, 450, 450, 64, 32),
        (4096, 3000, 71, 8, 15),
        (100_000, 1_000_000, 8, 8, 4),
    ):
        text: Any = SimpleNamespace(parts=words, read=SimpleNamespace(tokens=tokens))
        assert len(bounds.bounded_spans(text, 1024)) == occluded
        assert len(bounds.bounded_spans(text, 64, variants_a_span=8)) == shapley
        assert bounds.bounded_steps(text, 32) == steps


def test_words_that_nothing_reads_contribute_nothing(bert: Path) -> None:
    classifier = tiny_classifier(bert)
    for method in text_methods(classifier):
        found = explain_text(classifier, LONG, method=method)
        assert 0 < found.read < len(found.words)
        if method not in {"occlusion", "shapley"}:
            # Without a word of the beginning, one behind the cut comes into sight.
            assert not found.contributions[found.read :].any()
    stacked = explain_text(tiny_classifier(bert, stacked=True), LONG)
    assert stacked.read == len(stacked.words)
    windows = explain_text(tiny_classifier(bert, **VARIANTS["windows"]), LONG)
    assert windows.read == len(windows.words)


def test_the_measure_is_that_of_all_explanations(bert: Path) -> None:
    classifier = tiny_classifier(bert)
    found = explain_text(classifier, TEXT, method="occlusion", seed=3)
    masked = MaskedText(classifier, TEXT)
    label = classifier.class_names.index(found.label)
    assert found.faithfulness == measure_faithfulness(masked, found.contributions, label, seed=3)


@pytest.mark.parametrize(
    ("tokens", "orders", "steps"),
    [(200, 8, 16), (512, 5, 16), (1000, 2, 16), (2000, 2, 9), (50_000, 2, 6)],
)
def test_a_long_text_is_measured_more_coarsely(
    bert: Path, monkeypatch: pytest.MonkeyPatch, tokens: int, orders: int, steps: int
) -> None:
    classifier = tiny_classifier(bert)
    read = len(MaskedText(classifier, LONG).read.windows[0].input_ids)
    monkeypatch.setattr(module, "MEASURED_TOKENS", module.MEASURED_TOKENS * read // tokens)
    found = explain_text(classifier, LONG, method="pool-weights").faithfulness
    assert found.random_orders == orders
    assert len(found.fractions) == steps + 1


def test_what_there_is_not(bert: Path) -> None:
    classifier = tiny_classifier(bert, head="gru")
    with pytest.raises(RecipeError, match="called 'occlusoin'; did you mean 'occlusion'"):
        explain_text(classifier, TEXT, method="occlusoin")
    with pytest.raises(DataError, match="no class 'goood'; did you mean 'good'"):
        explain_text(classifier, TEXT, label="goood")
    with pytest.raises(DataError, match="the text is empty"):
        explain_text(classifier, "  ")
    with pytest.raises(RecipeError, match="a GRUHead pools without attention weights"):
        explain_text(classifier, TEXT, method="pool-weights")
