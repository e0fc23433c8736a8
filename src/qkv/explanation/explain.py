"""Why a classifier, of whatever task, answered as it did."""

from __future__ import annotations

import os
from pathlib import Path

from qkv.errors import DataError
from qkv.explanation.explanation import Explanation
from qkv.explanation.text import DEFAULT_TEXT_METHOD, explain_text, text_methods
from qkv.explanation.vision import DEFAULT_VISION_METHOD, VISION_METHODS, explain_image
from qkv.loading import Classifier, load
from qkv.runs import Run
from qkv.vision.classifier import ImageInput, VisionClassifier


def explain(
    classifier: Classifier | Run | str | os.PathLike[str],
    input: ImageInput,  # noqa: A002
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
    if isinstance(classifier, VisionClassifier):
        return explain_image(classifier, input, method=method, label=label, seed=seed)
    if not isinstance(input, str):
        raise DataError(
            f"the input is {type(input).__name__}, and the model reads texts", remedy="give a text"
        )
    return explain_text(classifier, input, method=method, label=label, seed=seed)


def methods_of(classifier: Classifier) -> tuple[str, ...]:
    """The methods that can explain its answers."""
    if isinstance(classifier, VisionClassifier):
        return tuple(VISION_METHODS)
    return text_methods(classifier)


def default_method(classifier: Classifier) -> str:
    """The one that measured best."""
    is_vision = isinstance(classifier, VisionClassifier)
    return DEFAULT_VISION_METHOD if is_vision else DEFAULT_TEXT_METHOD
