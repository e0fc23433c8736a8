"""Attention between the words of a text, of any layer and head there is, for a page to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from qkv.inspection.explanation import Word
from qkv.inspection.text.encoder_attention import (
    WordWeights,
    attention_layers,
    encoder_attention,
)
from qkv.inspection.text.pool_weights import pool_weights, pooling_queries
from qkv.inspection.text.read_text import ReadText
from qkv.text.classifier import TextClassifier

POOL = "head"


@dataclass(frozen=True)
class TextAttention:
    """How much of each word is taken, by each word or by the pooling head.

    Attributes:
        words: those that the text model reads.
        weights: float32 (words, words), row i being how much word i takes from each; or (1, words),
            how much the head takes.
        layers: what can be asked for: layers of the encoder, and `head` where it pools by weights.
        heads: how many heads this layer has.
    """

    words: tuple[Word, ...]
    weights: WordWeights
    layers: tuple[int | Literal["head"], ...]
    heads: int


def text_attention(
    classifier: TextClassifier, text: str, layer: int | Literal["head"], head: int | None = None
) -> TextAttention:
    """The attention of a layer's head, or of the pooling head.

    Args:
        classifier: what reads the text.
        text: with at least one word.
        layer: of the encoder, from 1; or `head`.
        head: which, from 0; None: the mean of all.

    Raises:
        DataError: the text is empty.
        RecipeError: there is no such layer or head.
    """
    read = ReadText(classifier, text)
    words = tuple(read.words[index] for index in read.words_read)
    choices = attention_choices(classifier)
    if layer == POOL:
        every = pool_weights(classifier, read, head)
        weights: WordWeights = every[None, read.words_read].astype(np.float32)
        return TextAttention(words, weights, _layers(choices), choices["pool_heads"])
    assert not isinstance(layer, str)
    weights = encoder_attention(classifier, text, layer, head)
    return TextAttention(words, weights, _layers(choices), choices["heads"])


def attention_choices(classifier: TextClassifier) -> dict[str, Any]:
    """What `text_attention` can be asked for, as JSON values.

    `layers`: those of the encoder, from 1; `heads`: of each; `pool`: whether the classifier's head
    pools by weights; `pool_heads`: how many sets of them. No layers where they do not stand alone.
    """
    layers, queries = attention_layers(classifier), pooling_queries(classifier)
    return {
        "layers": list(layers),
        "heads": classifier.reading.encoder.encoder.num_heads if layers else 0,
        "pool": queries > 0,
        "pool_heads": queries,
    }


def _layers(choices: dict[str, Any]) -> tuple[int | Literal["head"], ...]:
    return (*choices["layers"], *(["head"] if choices["pool"] else []))
