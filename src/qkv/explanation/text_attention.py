"""Attention between the words of a text, of any layer and head there is, for a page to show."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qkv.data.dataset import IntArray
from qkv.errors import RecipeError
from qkv.explanation.explanation import Word
from qkv.explanation.faithfulness import FloatArray
from qkv.explanation.text_words import NO_WORD, ReadText
from qkv.text.classifier import TextClassifier
from qkv.text.encoder.trainable import EncoderTop, StackedEncoder, WholeEncoder
from qkv.text.heads import AttentionHead

WordWeights = npt.NDArray[np.float32]


def attention_layers(classifier: TextClassifier) -> tuple[int, ...]:
    """Layers of which attention can be had: those below and at the highest that is read.

    None if the encoder's layers do not stand alone.
    """
    reader = classifier.reading.encoder
    if not reader.encoder.packs:
        return ()
    # Above what is read here, if anything, stand the layers that the model trained.
    unfrozen = classifier.reading.unfrozen
    above = unfrozen if isinstance(unfrozen, int) else 0
    return tuple(range(1, max(reader.layers) + above + 1))


def encoder_attention(
    classifier: TextClassifier, text: str, layer: int, head: int | None
) -> WordWeights:
    """Attention between the words that the encoder reads, as it was computed for the prediction.

    From word i to word j: the mean over the pieces of i of the sum over the pieces of j. What goes
    to special tokens is missing from a row's sum, which is 1 otherwise. Where a text is read in
    windows, each piece attends to its own window.

    Args:
        classifier: whose encoder.
        text: with at least one word.
        layer: which, from 1.
        head: which, from 0; None: the mean of all.

    Returns:
        float32 (words, words), of `ReadText.words_read`.

    Raises:
        DataError: the text is empty.
        RecipeError: the classifier reads no such layer, there is no such head, or the encoder's
            layers do not stand alone.
    """
    _require(classifier, layer, head)
    read = ReadText(classifier, text)
    count = len(read.words_read)
    # Words that are read are numbered anew; one more entry, which index −1 finds, is no word.
    numbers = np.full(len(read.words) + 1, NO_WORD, dtype=np.int64)
    numbers[read.words_read] = np.arange(count)
    total = torch.zeros(count, count)
    pieces = torch.zeros(count, 1)
    weights = _weights(classifier, read, layer, head)
    for window, weight in zip(read.windows, weights, strict=True):
        words = numbers[window.words]
        asking = words.copy()
        asking[: window.keep.start] = asking[window.keep.stop :] = NO_WORD
        rows, columns = _indicator(asking, count), _indicator(words, count)
        total += rows.T @ (weight.mean(dim=0).cpu() @ columns)
        pieces += rows.sum(dim=0)[:, None]
    mean: WordWeights = (total / pieces).numpy()
    return mean


def _require(classifier: TextClassifier, layer: int, head: int | None) -> None:
    encoder = classifier.reading.encoder.encoder
    layers = attention_layers(classifier)
    if not encoder.packs:
        raise RecipeError(
            f"{encoder.files.name} runs as a whole and does not hand out its attention",
            remedy="explain the text by another method, or choose an encoder of the kind of bert",
        )
    if not layers:
        raise RecipeError(
            f"the classifier reads the word embeddings of {encoder.files.name}, and no layer",
            remedy="explain the text by another method, or train upon a layer",
        )
    if layer not in layers:
        raise RecipeError(
            f"the classifier reads no layer {layer} of {encoder.files.name}",
            remedy=f"name a layer from 1 to {layers[-1]}",
        )
    if head is not None and not 0 <= head < encoder.num_heads:
        raise RecipeError(
            f"{encoder.files.name} has no head {head}",
            remedy=f"name a head from 0 to {encoder.num_heads - 1}, or none for their mean",
        )


@torch.inference_mode()
def _weights(
    classifier: TextClassifier, read: ReadText, layer: int, head: int | None
) -> list[Tensor]:
    """Float32 (heads, tokens, tokens) of each window."""
    top, below = classifier.model.top, classifier.reading.encoder
    if isinstance(top, StackedEncoder):
        return top.attention(*read.inputs(), layer, head)
    assert not isinstance(top, WholeEncoder)
    if isinstance(top, EncoderTop) and layer > max(below.layers):
        return top.attention(*read.inputs(), layer - max(below.layers), head)
    return below.encoder.attention([window.input_ids for window in read.windows], layer, head)


def _indicator(words: IntArray, count: int) -> Tensor:
    """(tokens, words): 1 where a token is a piece of a word."""
    return torch.from_numpy((words[:, None] == np.arange(count)).astype(np.float32))


def pool_weights(classifier: TextClassifier, read: ReadText, head: int | None = None) -> FloatArray:
    """Weights of a head's learned queries, summed over each word's pieces, (words,).

    They are all positive and say where the head looks, not which class it finds there. What goes to
    special tokens is missing from their sum, which is 1 otherwise.

    Args:
        classifier: with an attention head.
        read: the text.
        head: which query (and, where a query has several heads, which of its heads), from 0; None:
            the mean of all.

    Raises:
        RecipeError: the classifier's head pools without weights, or has no such query.
    """
    queries = pooling_queries(classifier)
    if not queries:
        raise RecipeError(
            f"a {type(classifier.model.head).__name__} pools without attention weights",
            remedy="choose another method, or train with head.kind 'attention'",
        )
    if head is not None and not 0 <= head < queries:
        raise RecipeError(
            f"the pooling head has no query {head}", remedy=f"name 0 to {queries - 1}"
        )
    with torch.inference_mode():
        _, named = classifier.model.forward_with_intermediates(*read.inputs())
    weights: Tensor = named["pool_weights"][0].flatten(0, -2)
    chosen = weights.mean(dim=0) if head is None else weights[head]
    return read.by_word(chosen.cpu().numpy())


def pooling_queries(classifier: TextClassifier) -> int:
    """How many sets of weights the head pools by; 0: it pools without."""
    head = classifier.model.head
    return head.num_queries * head.num_heads if isinstance(head, AttentionHead) else 0


POOL = "head"


def text_attention(
    classifier: TextClassifier, text: str, layer: int | Literal["head"], head: int | None = None
) -> tuple[tuple[Word, ...], WordWeights]:
    """The attention of a layer's head, or of the pooling head.

    Args:
        classifier: what reads the text.
        text: with at least one word.
        layer: of the encoder, from 1; or `head`.
        head: which, from 0; None: the mean of all.

    Returns:
        The words that the text model reads; and float32 (words, words), row i being how much word
        i takes from each, or (1, words), how much the pooling head takes.

    Raises:
        DataError: the text is empty.
        RecipeError: there is no such layer or head.
    """
    read = ReadText(classifier, text)
    words = tuple(read.words[index] for index in read.words_read)
    if not isinstance(layer, str):
        return words, encoder_attention(classifier, text, layer, head)
    pooled = pool_weights(classifier, read, head)
    return words, pooled[None, read.words_read].astype(np.float32)


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
