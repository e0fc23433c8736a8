"""Integrated gradients upon embeddings and upon states: complete, and equal to Captum's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from tiny_text_models import LONG, TEXT, VARIANTS, log_odds_of, own_bert, tiny_classifier
from torch import Tensor

from qkv.explanation import text_gradients as module
from qkv.explanation.text_gradients import integrated_gradients, layer_integrated_gradients
from qkv.explanation.text_masking import ClassScore, MaskedText

COARSE, FINE = 8, 128


def odds(logits: Tensor, label: int) -> Tensor:
    """The definition, at the temperature of the tiny classifiers."""
    share = (logits.double() / 1.3).softmax(dim=1)[:, label]
    return (share / (1 - share)).log()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_path_is_paid_for_in_full(bert: Path, variant: str) -> None:
    classifier = tiny_classifier(bert, **VARIANTS[variant])
    masked = MaskedText(classifier, LONG)
    model = module._Model(classifier, masked.read)
    ends = [model.logits(part).detach() for part in (model.baseline(), model.embeddings())]
    unread = np.setdiff1d(np.arange(masked.parts), masked.read.words_read)
    for label in range(len(classifier.class_names)):
        score = ClassScore(masked, label)
        found = integrated_gradients(masked, label, steps=FINE)
        words = found.contributions - score.ngram_contributions()
        change = (score.log_odds(ends[1]) - score.log_odds(ends[0])).item()
        # Special tokens are the same at both ends, and no piece is of no word.
        assert words.sum() == pytest.approx(change, abs=2e-3 * max(1, abs(change)))
        assert found.convergence_delta == pytest.approx(words.sum() - change, abs=1e-6)
        assert abs(words).max() > 0.01
        # The end of the path is the classifier's own answer.
        odds = score.log_odds(classifier.neural_logits([LONG])).item()
        assert odds == pytest.approx(log_odds_of(classifier, LONG, label), abs=1e-4)
        assert not words[unread].any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_path_ends_at_the_answer(bert: Path, variant: str) -> None:
    classifier = tiny_classifier(bert, **VARIANTS[variant])
    model = module._Model(classifier, MaskedText(classifier, LONG).read)
    found = model.logits(model.embeddings()).detach()
    # The classifier rounds states to float16.
    torch.testing.assert_close(found, classifier.neural_logits([LONG]), atol=3e-3, rtol=1e-3)
    assert not torch.allclose(model.logits(model.baseline()), found, atol=3e-3, rtol=1e-3)


def test_more_steps_come_nearer(bert: Path) -> None:
    masked = MaskedText(tiny_classifier(bert), TEXT)
    deltas = [
        abs(integrated_gradients(masked, 1, steps=steps).convergence_delta or 0)
        for steps in (1, COARSE, FINE)
    ]
    assert deltas[2] < 2e-3 < deltas[0]
    assert deltas[2] < deltas[1]


@pytest.mark.parametrize("classes", [2, 3])
def test_upon_embeddings_it_agrees_with_captum(
    bert: Path, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 60)
    classifier = tiny_classifier(bert, classes=classes)
    masked = MaskedText(classifier, TEXT)
    model = own_bert(bert)
    (window,) = masked.read.windows
    ids = torch.from_numpy(window.input_ids.astype(np.int64))[None]
    pad = ids.clone()
    pad[0, 1:-1] = classifier.reading.encoder.tokenizer.pad_id
    embed = model.get_input_embeddings()

    def forward(embeddings: Tensor) -> Tensor:
        states = model(inputs_embeds=embeddings).last_hidden_state
        mask = torch.ones(states.shape[:2], dtype=torch.bool)
        return classifier.model.head(states, mask)

    for label in range(classes):
        captum = IntegratedGradients(lambda x, label=label: odds(forward(x), label))
        expected = captum.attribute(
            embed(ids).detach(), embed(pad).detach(), n_steps=COARSE, method="gausslegendre"
        )
        pieces = expected.sum(dim=2)[0].detach().numpy()
        words = np.zeros(masked.parts)
        np.add.at(words, window.words[1:-1], pieces[1:-1])
        found = integrated_gradients(masked, label, steps=COARSE).contributions
        np.testing.assert_allclose(found, words, atol=1e-4, rtol=1e-3)
        # Special tokens are the same at both ends.
        assert pieces[0] == pieces[-1] == 0
        assert abs(words).max() > 0.05


@pytest.mark.parametrize(
    "variant", ["attention", "gru", "mean of layers", "three classes", "windows"]
)
def test_upon_states_it_agrees_with_captum(
    bert: Path, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STATES_AT_ONCE", 100)
    classifier = tiny_classifier(bert, **VARIANTS[variant])
    masked = MaskedText(classifier, LONG)
    states, mask = masked.read.states()
    mean = states.mean(dim=1, keepdim=True).expand_as(states)

    def forward(points: Tensor) -> Tensor:
        return odds(classifier.model.head(points, mask.expand(len(points), -1)), 1)

    captum = IntegratedGradients(forward)
    expected = captum.attribute(states, mean, n_steps=COARSE, method="gausslegendre")
    rows = expected.sum(dim=2)[0].detach().numpy()
    attribution = layer_integrated_gradients(masked, 1, steps=COARSE)
    found = attribution.contributions
    for word in range(masked.parts):
        here = rows[masked.read.words_of_states == word].sum()
        assert found[word] == pytest.approx(here, abs=1e-4, rel=1e-3)
    special = rows[masked.read.words_of_states == -1].sum()
    with torch.no_grad():
        change = (forward(states) - forward(mean)).item()
    # Complete already at so few steps.
    assert found.sum() + special == pytest.approx(change, abs=0.02 * abs(change) + 1e-3)
    gap = attribution.convergence_delta
    assert gap == pytest.approx(found.sum() + special - change, abs=1e-4)


@pytest.mark.parametrize("compute", [integrated_gradients, layer_integrated_gradients])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_ngrams_part_is_added(bert: Path, classes: int, compute: Any) -> None:
    stacked = tiny_classifier(bert, classes=classes, stacked=True)
    masked = MaskedText(stacked, TEXT)
    for label in range(classes):
        answer = ClassScore(masked, label)
        beside = answer.ngram_contributions()
        together = compute(masked, label, steps=COARSE).contributions
        if classes == 2:
            # The text model's part is what it says alone, by its weight in the stack.
            alone = MaskedText(tiny_classifier(bert, classes=2), TEXT)
            np.testing.assert_allclose(
                together,
                0.7 * compute(alone, label, steps=COARSE).contributions + beside,
                atol=1e-4,
            )
        else:
            assert np.isfinite(together).all()
            assert abs(together - beside).max() > 1e-4
        assert abs(beside).max() > 0.05


def test_which_class_is_explained(bert: Path) -> None:
    masked = MaskedText(tiny_classifier(bert), TEXT)
    for compute in (integrated_gradients, layer_integrated_gradients):
        one, other = (compute(masked, label).contributions for label in (0, 1))
        # Of two classes what speaks for the one speaks against the other.
        np.testing.assert_allclose(one, -other, atol=1e-5)
        assert abs(one).max() > 0.01


def test_gradients_are_had_where_none_are_kept(bert: Path) -> None:
    classifier = tiny_classifier(bert, unfrozen=1)
    masked = MaskedText(classifier, TEXT)
    expected = [
        compute(masked, 1).contributions
        for compute in (integrated_gradients, layer_integrated_gradients)
    ]
    with torch.no_grad():
        found = [
            compute(masked, 1).contributions
            for compute in (integrated_gradients, layer_integrated_gradients)
        ]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    for parameter in classifier.model.parameters():
        assert parameter.grad is None
