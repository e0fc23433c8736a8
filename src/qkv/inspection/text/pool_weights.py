"""How much of each word an attention head pools."""

from __future__ import annotations

import torch
from torch import Tensor

from qkv.errors import RecipeError
from qkv.inspection.masked import FloatArray
from qkv.inspection.text.read_text import ReadText
from qkv.text.classifier import TextClassifier
from qkv.text.heads.attention import AttentionHead


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
    weights = _weights(classifier, read)
    if head is None:
        return read.by_word(weights.mean(dim=0).cpu().numpy())
    if not 0 <= head < len(weights):
        raise RecipeError(
            f"the pooling head has no query {head}", remedy=f"name 0 to {len(weights) - 1}"
        )
    return read.by_word(weights[head].cpu().numpy())


def pooling_queries(classifier: TextClassifier) -> int:
    """How many sets of weights the head pools by; 0: it pools without."""
    head = classifier.model.head
    return head.num_queries * head.num_heads if isinstance(head, AttentionHead) else 0


@torch.inference_mode()
def _weights(classifier: TextClassifier, read: ReadText) -> Tensor:
    """(queries, states)."""
    if not pooling_queries(classifier):
        raise RecipeError(
            f"a {type(classifier.model.head).__name__} pools without attention weights",
            remedy="choose another method, or train with head.kind 'attention'",
        )
    _, named = classifier.model.forward_with_intermediates(*read.inputs())
    weights: Tensor = named["pool_weights"]
    return weights[0].flatten(0, -2)
