"""The attention of one layer, shown and measured as an explanation."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from qkv.errors import DataError
from qkv.explanation.explain import explain
from qkv.explanation.explanation import Explanation, ImageExplanation, TextExplanation
from qkv.explanation.faithfulness import FloatArray, MaskedInput, measure_faithfulness
from qkv.explanation.text_attention import encoder_attention
from qkv.explanation.text_masking import MaskedText
from qkv.explanation.vision import MaskedImage
from qkv.explanation.vision_attention import attention_map
from qkv.predictions import Classifier
from qkv.settings import nearest
from qkv.text.classifier import TextClassifier
from qkv.vision.classifier import ImageInput, VisionClassifier

METHOD = "attention"


def explain_attention(
    classifier: Classifier[Any, Any],
    given: Any,
    *,
    layer: int,
    head: int | None = None,
    query: str | None = None,
    label: str | None = None,
    seed: int = 0,
) -> Explanation:
    """How much is attended to each part, and whether that explains the answer.

    Args:
        classifier: of images or texts.
        given: an image or a text.
        layer: from 1, the lowest: a block of the model, or for texts a layer of the encoder.
        head: from 0; None: the mean of all.
        query: what attends: `ROW,COLUMN` of a patch, both from 1, or a word, of which the first
            is taken. None: the class token, or the mean over all patches or words.
        label: the class whose probability measures the faithfulness; the answer if None.
        seed: of the random orders.

    Raises:
        DataError, RecipeError: there is no such layer, head, patch, word or class.
    """
    return ATTENTION_OF[classifier.task](classifier, given, layer, head, query, label, seed)


def _of_text(
    classifier: TextClassifier,
    given: str,
    layer: int,
    head: int | None,
    query: str | None,
    label: str | None,
    seed: int,
) -> Explanation:
    base = explain(classifier, given, label=label, seed=seed)
    assert isinstance(base, TextExplanation)
    masked = MaskedText(classifier, base.text)
    began = time.perf_counter()
    read = masked.read.words_read
    word = None if query is None else _word([base.words[index].text for index in read], query)
    weights = encoder_attention(classifier, base.text, layer, head, word)
    contributions = np.zeros(masked.parts)
    contributions[read] = weights if word is not None else weights.mean(axis=0)
    return _with(base, masked, contributions, _name(layer, head, query), began, seed)


def _of_image(
    classifier: VisionClassifier,
    given: ImageInput,
    layer: int,
    head: int | None,
    query: str | None,
    label: str | None,
    seed: int,
) -> Explanation:
    depth = classifier.model.settings.depth
    if not 1 <= layer <= depth:
        raise DataError(f"there is no layer {layer}", remedy=f"name one from 1 to {depth}")
    base = explain(classifier, given, method=METHOD, label=label, seed=seed)
    assert isinstance(base, ImageExplanation)
    pixels = base.pixels[None] if base.pixels.ndim == 2 else base.pixels.transpose(2, 0, 1)
    masked = MaskedImage(classifier, np.ascontiguousarray(pixels))
    began = time.perf_counter()
    patch = None if query is None else _patch(query, base.grid_size)
    grid = attention_map(classifier, masked.pixels, layer - 1, head, patch)
    side = len(base.pixels) // base.grid_size
    base = dataclasses.replace(base, heat=grid.repeat(side, axis=0).repeat(side, axis=1))
    contributions = grid.astype(np.float64).reshape(-1)
    return _with(base, masked, contributions, _name(layer, head, query), began, seed)


ATTENTION_OF: dict[str, Callable[..., Explanation]] = {"vision": _of_image, "text": _of_text}


def _with(
    base: Explanation,
    masked: MaskedInput,
    contributions: FloatArray,
    method: str,
    began: float,
    seed: int,
) -> Explanation:
    seconds = time.perf_counter() - began
    return dataclasses.replace(
        base,
        method=method,
        contributions=contributions,
        signed=False,
        unit="attention weight",
        faithfulness=measure_faithfulness(
            masked,
            contributions,
            list(base.probabilities).index(base.label),
            # As much as was thought fit for an input of this length.
            steps=len(base.faithfulness.fractions) - 1,
            random_orders=base.faithfulness.random_orders,
            seed=seed,
        ),
        seconds=seconds,
        completeness_gap=None,
        coarsened=None,
    )


def _name(layer: int, head: int | None, query: str | None) -> str:
    heads = "mean of heads" if head is None else f"head {head}"
    return f"{METHOD}, layer {layer}, {heads}" + ("" if query is None else f", from {query}")


def _patch(query: str, grid_size: int) -> int:
    try:
        row, column = map(int, query.split(","))
    except ValueError:
        row = column = 0
    if not (1 <= row <= grid_size and 1 <= column <= grid_size):
        raise DataError(
            f"there is no patch {query!r}",
            remedy=f"name its row and its column, such as 1,{grid_size}; both are from 1 to "
            f"{grid_size}",
        )
    return (row - 1) * grid_size + column - 1


def _word(words: list[str], query: str) -> int:
    lower = [word.lower() for word in words]
    if query.lower() not in lower:
        raise DataError(
            f"there is no word {query!r} among those that are read",
            remedy=nearest(query.lower(), set(lower), what="words"),
        )
    return lower.index(query.lower())
