"""Attention as the API answers it: of an image by patches, of a text by words."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from qkv.errors import DataError
from qkv.explanation.text_attention import POOL, attention_choices, text_attention
from qkv.explanation.vision_attention import attention_weights
from qkv.text.classifier import TextClassifier
from qkv.vision.classifier import VisionClassifier

# So many words make half a megabyte of weights.
MOST_WORDS = 512
_DIGITS = 6


def image_attention(
    classifier: VisionClassifier,
    pixels: npt.NDArray[np.uint8],
    *,
    layer: str | None,
    head: str,
    query: int | None,
    whole: bool,
) -> dict[str, Any]:
    """The values of an `AttentionAnswer` for an image.

    Args:
        classifier: a vision model.
        pixels: uint8 (channels, size, size).
        layer: a number from 1, the lowest; None: the last.
        head: a number from 0, or `mean`.
        query: the patch that attends, row by row; None: the class token or, in a model without
            one, the mean over patches.
        whole: answer with every token's weights on every token instead.

    Raises:
        DataError: there is no such layer, head or patch.
    """
    settings = classifier.model.settings
    layers = [str(number) for number in range(1, settings.depth + 1)]
    number = int(_one_of("layer", layers[-1] if layer is None else layer, layers))
    weights = attention_weights(classifier, pixels, number - 1)
    _one_of("head", head, ["mean", *(str(index) for index in range(len(weights)))])
    matrix = weights.mean(axis=0) if head == "mean" else weights[int(head)]
    first = int(classifier.model.class_token is not None)
    patches = settings.grid_size**2
    document: dict[str, Any] = {
        "layer": number,
        "head": head if head == "mean" else int(head),
        "query": None if whole else query,
        "grid_size": settings.grid_size,
    }
    if whole:
        return {**document, "matrix": [_rounded(row) for row in matrix]}
    if query is not None and query >= patches:
        raise DataError(f"there is no patch {query}", remedy=f"name one from 0 to {patches - 1}")
    if query is not None:
        row = matrix[first + query]
    else:
        row = matrix[0] if first else matrix.mean(axis=0)
    share = _rounded(row[:1])[0] if first else None
    return {**document, "class_token": share, "weights": _rounded(row[first:])}


def text_attention_answer(
    classifier: TextClassifier, text: str, *, layer: str | None, head: str, query: int | None
) -> dict[str, Any]:
    """The values of an `AttentionAnswer` for a text.

    Args:
        classifier: a text model.
        text: with at least one word.
        layer: a number from 1, the lowest, or `head`; None: `head`, or the last layer if it does
            not pool.
        head: a number from 0, or `mean`.
        query: the word that attends; None: the pool, or every word.

    Raises:
        DataError: there is no such layer, head or word, or there are too many words for all.
    """
    choices = attention_choices(classifier)
    layers = [*map(str, choices["layers"]), *([POOL] if choices["pool"] else [])]
    if not layers:
        raise DataError(
            "this model does not hand out its attention", remedy="ask for an explanation instead"
        )
    chosen = _one_of("layer", layers[-1] if layer is None else layer, layers)
    heads = choices["pool_heads"] if chosen == POOL else choices["heads"]
    _one_of("head", head, ["mean", *(str(index) for index in range(heads))])
    found, weights = text_attention(
        classifier,
        text,
        "head" if chosen == POOL else int(chosen),
        None if head == "mean" else int(head),
    )
    document: dict[str, Any] = {
        "layer": chosen if chosen == POOL else int(chosen),
        "head": head if head == "mean" else int(head),
        "query": None if chosen == POOL else query,
        "words": [vars(word) for word in found],
    }
    if chosen == POOL:
        return {**document, "weights": _rounded(weights[0])}
    words = len(found)
    if query is None:
        if words > MOST_WORDS:
            raise DataError(
                f"the text has {words} words, too many for all of them at once",
                remedy="name a word as query",
            )
        matrix = weights.astype("<f2").tobytes()
        return {**document, "matrix": base64.b64encode(matrix).decode()}
    if query >= words:
        raise DataError(f"there is no word {query}", remedy=f"name one from 0 to {words - 1}")
    return {**document, "weights": _rounded(weights[query])}


def _one_of(what: str, given: str, known: list[str]) -> str:
    if given in known:
        return given
    raise DataError(f"there is no {what} {given}", remedy=f"choose one of {', '.join(known[:64])}")


def _rounded(values: npt.NDArray[np.float32]) -> list[float]:
    rounded: list[float] = np.round(values.astype(np.float64), _DIGITS).tolist()
    return rounded
