"""Why a classifier, of whatever task, answered as it did."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkv.explanation.explanation import Explanation
from qkv.explanation.text import DEFAULT_TEXT_METHOD, explain_text, text_methods
from qkv.explanation.vision import DEFAULT_VISION_METHOD, VISION_METHODS, explain_image
from qkv.loading import load
from qkv.predictions import Classifier
from qkv.runs import Run


@dataclass(frozen=True)
class Explainer:
    """How the answers of a task are explained.

    Attributes:
        explain: from a classifier of the task and an input to an explanation.
        methods: those that a classifier can be explained by.
        default: the one that measured best.
    """

    explain: Callable[..., Explanation]
    methods: Callable[[Any], tuple[str, ...]]
    default: str


EXPLAINERS: dict[str, Explainer] = {
    "vision": Explainer(explain_image, lambda _: tuple(VISION_METHODS), DEFAULT_VISION_METHOD),
    "text": Explainer(explain_text, text_methods, DEFAULT_TEXT_METHOD),
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
        run = classifier if isinstance(classifier, Run) else Path(classifier)
        classifier = load(run)
    explainer = EXPLAINERS[classifier.task]
    return explainer.explain(classifier, input, method=method, label=label, seed=seed)


def methods_of(classifier: Classifier[Any, Any]) -> tuple[str, ...]:
    """The methods that can explain its answers."""
    return EXPLAINERS[classifier.task].methods(classifier)


def default_method(classifier: Classifier[Any, Any]) -> str:
    """The one that measured best."""
    return EXPLAINERS[classifier.task].default
