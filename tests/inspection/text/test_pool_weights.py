"""How much of each word the head pools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_text_models import LONG, TEXT, VARIANTS, tiny_classifier

from qkv.errors import RecipeError
from qkv.explanation.text_attention import pool_weights, pooling_queries
from qkv.explanation.text_words import ReadText


@pytest.mark.parametrize(
    "variant", [name for name in VARIANTS if VARIANTS[name].get("head") is None]
)
@pytest.mark.parametrize("num_heads", [1, 2])
def test_they_are_the_head_s_own(bert: Path, variant: str, num_heads: int) -> None:
    classifier = tiny_classifier(
        bert, **{**VARIANTS[variant], "stacked": False}, num_heads=num_heads
    )
    assert pooling_queries(classifier) == 3 * num_heads
    read = ReadText(classifier, LONG)
    states, mask = read.states()
    named = classifier.model.head.forward_with_intermediates(states, mask)[1]  # type: ignore[operator]
    expected = named["pool_weights"][0].reshape(3 * num_heads, -1).detach().numpy()
    every = []
    for head in range(3 * num_heads):
        found = pool_weights(classifier, read, head)
        assert (found.dtype, found.shape) == (np.float64, (len(read.words),))
        by_hand = np.zeros(len(read.words))
        special = 0.0
        for weight, word in zip(expected[head], read.words_of_states, strict=True):
            if word < 0:
                special += weight
            else:
                by_hand[word] += weight
        np.testing.assert_allclose(found, by_hand, atol=1e-6)
        # Special tokens take the rest.
        assert found.sum() + special == pytest.approx(1, abs=1e-5)
        assert found.min() >= 0
        every.append(found)
    mean = pool_weights(classifier, read)
    np.testing.assert_allclose(mean, np.mean(every, axis=0), atol=1e-6)
    assert np.ptp(every, axis=0).max() > 0.01
    unread = np.setdiff1d(np.arange(len(read.words)), read.words_read)
    assert not mean[unread].any()


def test_what_there_is_not(bert: Path) -> None:
    classifier = tiny_classifier(bert)
    for head in (-1, 3):
        with pytest.raises(RecipeError, match=f"no query {head}; name 0 to 2"):
            pool_weights(classifier, ReadText(classifier, TEXT), head)
    for kind, called in (("gru", "GRUHead"), ("mean", "MeanHead")):
        other = tiny_classifier(bert, head=kind)
        assert pooling_queries(other) == 0
        with pytest.raises(RecipeError, match=f"a {called} pools without attention weights"):
            pool_weights(other, ReadText(other, TEXT))
