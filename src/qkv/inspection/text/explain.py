"""From a text to its explanation."""

from __future__ import annotations

import time

import numpy as np

from qkv.inspection.choices import chosen_label, chosen_method
from qkv.inspection.explanation import TextExplanation
from qkv.inspection.faithfulness import (
    RANDOM_ORDERS,
    STEPS,
    Faithfulness,
    measure_faithfulness,
)
from qkv.inspection.masked import FloatArray
from qkv.inspection.text.masked import MaskedText
from qkv.inspection.text.methods import DEFAULT_TEXT_METHOD, TEXT_METHODS
from qkv.text.classifier import TextClassifier

# Tokens that all texts of a measurement of faithfulness have together, or a little more.
MEASURED_TOKENS = 48_000
_FEWEST_ORDERS, _FEWEST_STEPS = 2, 6


def explain_text(
    classifier: TextClassifier,
    text: str,
    *,
    method: str | None = None,
    label: str | None = None,
    name: str | None = None,
    seed: int = 0,
) -> TextExplanation:
    """Why a classifier answers as it does for a text, and how far to believe that.

    Args:
        classifier: what answers.
        text: with at least one word.
        method: a key of `TEXT_METHODS`; None: the default.
        label: the class to explain; None: the one that the classifier answers.
        name: what the text is called; None: the text itself.
        seed: rules what is drawn: orders and samples.

    Raises:
        DataError: the text is empty, or there is no such class.
        RecipeError: there is no such method, or it does not go with this classifier.
    """
    chosen = chosen_method(method, TEXT_METHODS, DEFAULT_TEXT_METHOD)
    way = TEXT_METHODS[chosen]
    masked = MaskedText(classifier, text)
    answer = masked.probabilities(np.ones((1, masked.parts), dtype=np.bool_))[0]
    number = chosen_label(label, classifier.class_names, int(answer.argmax()))
    began = time.perf_counter()
    found = way.compute(masked, number, seed)
    seconds = time.perf_counter() - began
    return TextExplanation(
        input=text if name is None else name,
        method=chosen,
        label=classifier.class_names[number],
        probability=float(answer[number]),
        probabilities=dict(zip(classifier.class_names, answer.tolist(), strict=True)),
        contributions=found.contributions,
        signed=way.signed,
        unit=way.unit,
        faithfulness=_faithfulness(masked, found.contributions, number, seed),
        seconds=seconds,
        completeness_gap=found.completeness_gap,
        coarsened=found.coarsened,
        text=text,
        words=masked.words,
        read=_read(masked),
    )


def _faithfulness(
    masked: MaskedText, contributions: FloatArray, label: int, seed: int
) -> Faithfulness:
    """Measured with fewer random orders, then fewer steps, where a text is long."""
    tokens = masked.read.tokens
    # Deleted and inserted texts have half the tokens on average; the ends of curves are shared.
    curves = MEASURED_TOKENS // tokens
    orders = max(min(RANDOM_ORDERS, curves // (STEPS - 1) - 1), _FEWEST_ORDERS)
    steps = max(min(STEPS, curves // (orders + 1) + 1), _FEWEST_STEPS)
    return measure_faithfulness(
        masked, contributions, label, steps=steps, random_orders=orders, seed=seed
    )


def _read(masked: MaskedText) -> int:
    """Words up to the last that anything reads; the n-grams read them all."""
    if masked.classifier.stack is not None:
        return masked.parts
    found = masked.read.words_read
    return int(found[-1]) + 1 if len(found) else 0
