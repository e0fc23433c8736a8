"""From a text to its explanation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qkv.explanation.explanation import Attribution, TextExplanation, chosen_label, chosen_method
from qkv.explanation.faithfulness import (
    RANDOM_ORDERS,
    STEPS,
    Faithfulness,
    FloatArray,
    measure_faithfulness,
)
from qkv.explanation.perturbation import PERMUTATIONS, occlusion, shapley_values
from qkv.explanation.text_attention import pool_weights, pooling_queries
from qkv.explanation.text_gradients import integrated_gradients, state_gradients
from qkv.explanation.text_masking import UNIT, MaskedSpans, MaskedText, bounded_spans
from qkv.text.classifier import TextClassifier

# Texts of more words are taken apart in that many spans, or in fewer if they are long to read; the
# words of a span share what it contributes.
OCCLUDED_PARTS = 1024
SHAPLEY_PARTS = 64


@dataclass(frozen=True)
class TextMethod:
    """One way.

    Attributes:
        compute: from a text, a class and a seed to contributions, (words,).
        signed: whether it tells what speaks for a class from what speaks against it.
        unit: of a contribution.
    """

    compute: Callable[[MaskedText, int, int], Attribution]
    signed: bool
    unit: str


def _state_gradients(text: MaskedText, label: int, seed: int) -> Attribution:
    del seed
    return state_gradients(text, label)


def _integrated_gradients(text: MaskedText, label: int, seed: int) -> Attribution:
    del seed
    return integrated_gradients(text, label)


def _occlusion(text: MaskedText, label: int, seed: int) -> Attribution:
    del seed
    spans = bounded_spans(text, OCCLUDED_PARTS)
    values = occlusion(MaskedSpans(text, spans), label)
    return Attribution(spans.shared(values), coarsened=spans.coarsened)


def _shapley(text: MaskedText, label: int, seed: int) -> Attribution:
    spans = bounded_spans(text, SHAPLEY_PARTS, variants_a_span=PERMUTATIONS)
    values = shapley_values(MaskedSpans(text, spans), label, unit="log odds", seed=seed)
    return Attribution(spans.shared(values), coarsened=spans.coarsened)


def _pool_weights(text: MaskedText, label: int, seed: int) -> Attribution:
    del label, seed
    return Attribution(pool_weights(text.classifier, text.read))


TEXT_METHODS: dict[str, TextMethod] = {
    "state-gradients": TextMethod(_state_gradients, signed=True, unit=UNIT),
    "occlusion": TextMethod(_occlusion, signed=True, unit="probability"),
    "integrated-gradients": TextMethod(_integrated_gradients, signed=True, unit=UNIT),
    "shapley": TextMethod(_shapley, signed=True, unit=UNIT),
    "pool-weights": TextMethod(_pool_weights, signed=False, unit="attention weight"),
}

# The most faithful on 40 training reviews of IMDB under the fast recipe, and the second quickest: a
# mean score of 0.81, before occlusion (0.80, of 31), integrated gradients (0.77), Shapley values
# (0.70, of 31) and pool weights (0.22); random orders 0.01. Deletion beat random orders on all of
# them, that by pool weights on 31. `qkv evaluate --explanations` measures a run's own.
DEFAULT_TEXT_METHOD = "state-gradients"


def text_methods(classifier: TextClassifier) -> tuple[str, ...]:
    """The methods that go with a classifier, the default first."""
    pools = pooling_queries(classifier) > 0
    return tuple(name for name in TEXT_METHODS if pools or name != "pool-weights")


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
    masked = MaskedText(classifier, classifier.read(text))
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
