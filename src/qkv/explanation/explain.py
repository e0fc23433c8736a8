"""Explanations of the predictions of a classifier of any task."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkv.explanation import text, vision
from qkv.explanation.explanation import Explanation, Method
from qkv.loading import load
from qkv.predictions import Classifier
from qkv.runs import Run


@dataclass(frozen=True)
class Explainer:
    """How predictions of one task are explained.

    Attributes:
        explain: from a classifier of the task and an input to an explanation.
        methods: those that a classifier can be explained by.
        default: the one that measured best.
        attention: a method of a layer, a head and a query, as `explain_attention` describes them.
    """

    explain: Callable[..., Explanation]
    methods: Callable[[Any], tuple[str, ...]]
    default: str
    attention: Callable[[int, int | None, str | None], Method[Any]]


EXPLAINERS: dict[str, Explainer] = {
    "vision": Explainer(
        vision.explain_image,
        lambda _: tuple(vision.VISION_METHODS),
        vision.DEFAULT_VISION_METHOD,
        vision.layer_attention,
    ),
    "text": Explainer(
        text.explain_text, text.text_methods, text.DEFAULT_TEXT_METHOD, text.layer_attention
    ),
}


def explain(
    classifier: Classifier[Any, Any] | Run | str | os.PathLike[str],
    input: Any,  # noqa: A002
    *,
    method: str | None = None,
    label: str | None = None,
    seed: int = 0,
) -> Explanation:
    """Which parts of an input speak for a class, and how far that can be believed.

    Args:
        classifier: or the run of one, which is then loaded on the CPU.
        input: an image as for `predict`, or a text.
        method: one of `methods_of(classifier)`; `default_method(classifier)` when None.
        label: the class to explain; the predicted one when None.
        seed: of what the method and its measure draw.

    Returns:
        An `ImageExplanation` or a `TextExplanation`.

    Raises:
        RunError: the run cannot be loaded.
        RecipeError: there is no such method.
        DataError: there is no such class, or the input cannot be read.
    """
    if isinstance(classifier, Run | str | os.PathLike):
        classifier = load(classifier if isinstance(classifier, Run) else Path(classifier))
    explainer = EXPLAINERS[classifier.task]
    return explainer.explain(classifier, input, method=method, label=label, seed=seed)


def methods_of(classifier: Classifier[Any, Any]) -> tuple[str, ...]:
    """The methods that can explain its predictions."""
    return EXPLAINERS[classifier.task].methods(classifier)


def default_method(classifier: Classifier[Any, Any]) -> str:
    """The one that measured best."""
    return EXPLAINERS[classifier.task].default


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
    """How much is attended to each part, and whether that explains the prediction.

    Args:
        classifier: of images or texts.
        given: an image or a text.
        layer: from 1, the lowest: a block of the model, or for texts a layer of the encoder.
        head: from 0; None: the mean of all.
        query: what attends: `ROW,COLUMN` of a patch, both from 1, or a word, of which the first
            is taken. None: the class token, or the mean over all patches or words.
        label: the class whose probability measures the faithfulness; the predicted one if None.
        seed: of the random orders.

    Raises:
        DataError, RecipeError: there is no such layer, head, patch, word or class.
    """
    explainer = EXPLAINERS[classifier.task]
    name = f"attention, layer {layer}, {'mean of heads' if head is None else f'head {head}'}"
    name += "" if query is None else f", from {query}"
    methods = {name: explainer.attention(layer, head, query)}
    return explainer.explain(
        classifier, given, method=name, methods=methods, label=label, seed=seed
    )
