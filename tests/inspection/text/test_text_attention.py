"""What a page can be shown of a text model's attention."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_text_models import LONG, TEXT, VARIANTS, tiny_classifier

from qkv.errors import DataError, RecipeError
from qkv.explanation.text_attention import (
    attention_choices,
    encoder_attention,
    pool_weights,
    text_attention,
)
from qkv.explanation.text_words import ReadText


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_choice_can_be_shown(bert: Path, variant: str) -> None:
    classifier = tiny_classifier(bert, **VARIANTS[variant])
    choices = attention_choices(classifier)
    assert json.loads(json.dumps(choices)) == choices
    pools = VARIANTS[variant].get("head") is None
    assert choices == {
        "layers": [1, 2] if variant == "mean of layers" else [1, 2, 3],
        "heads": 2,
        "pool": pools,
        "pool_heads": 3 if pools else 0,
    }
    read = ReadText(classifier, LONG)
    words = tuple(read.words[number] for number in read.words_read)
    for layer in choices["layers"]:
        for head in (*range(2), None):
            found = text_attention(classifier, LONG, layer, head)
            assert found.words == words
            assert found.weights.shape == (len(words), len(words))
            np.testing.assert_array_equal(
                found.weights, encoder_attention(classifier, LONG, layer, head)
            )
            assert found.heads == 2
            assert found.layers == (*choices["layers"], *(["head"] if pools else []))
    if not pools:
        with pytest.raises(RecipeError, match="pools without attention weights"):
            text_attention(classifier, LONG, "head")
        return
    for head in (*range(3), None):
        found = text_attention(classifier, LONG, "head", head)
        assert (found.weights.dtype, found.weights.shape) == (np.float32, (1, len(words)))
        expected = pool_weights(classifier, read, head)[read.words_read]
        np.testing.assert_allclose(found.weights[0], expected, rtol=1e-6)
        assert (found.words, found.heads) == (words, 3)


def test_an_encoder_read_at_its_embeddings_shows_its_pool_alone(bert: Path) -> None:
    classifier = tiny_classifier(bert, layers=0)
    choices = attention_choices(classifier)
    assert choices == {"layers": [], "heads": 0, "pool": True, "pool_heads": 3}
    assert text_attention(classifier, TEXT, "head").layers == ("head",)


def test_what_cannot_be_shown(bert: Path) -> None:
    classifier = tiny_classifier(bert)
    with pytest.raises(RecipeError, match="reads no layer 4"):
        text_attention(classifier, TEXT, 4)
    with pytest.raises(RecipeError, match="has no head 5"):
        text_attention(classifier, TEXT, 1, 5)
    with pytest.raises(RecipeError, match="no query 3"):
        text_attention(classifier, TEXT, "head", 3)
    with pytest.raises(DataError, match="the text is empty"):
        text_attention(classifier, "\t", 1)
