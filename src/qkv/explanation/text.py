"""Explanations of texts by words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qkv.errors import DataError
from qkv.explanation.explanation import (
    Attribution,
    Method,
    TextExplanation,
    chosen_method,
    common_fields,
)
from qkv.explanation.faithfulness import RANDOM_ORDERS, STEPS
from qkv.explanation.perturbation import PERMUTATIONS, occlusion, shapley_values
from qkv.explanation.text_attention import encoder_attention, pool_weights, pooling_queries
from qkv.explanation.text_gradients import integrated_gradients, layer_integrated_gradients
from qkv.explanation.text_masking import UNIT, MaskedSpans, MaskedText, bounded_spans
from qkv.settings import nearest
from qkv.text.classifier import TextClassifier

# Texts of more words are taken apart in that many spans, or in fewer if they are long to read; the
# words of a span share what it contributes.
OCCLUDED_PARTS = 1024
SHAPLEY_PARTS = 64


def _occlusion(text: MaskedText, label: int, _seed: int) -> Attribution:
    spans = bounded_spans(text, OCCLUDED_PARTS)
    values = occlusion(MaskedSpans(text, spans), label)
    return Attribution(spans.shared(values), coarsened=spans.coarsened)


def _shapley(text: MaskedText, label: int, seed: int) -> Attribution:
    spans = bounded_spans(text, SHAPLEY_PARTS, variants_a_span=PERMUTATIONS)
    values = shapley_values(MaskedSpans(text, spans), label, unit="log odds", seed=seed)
    return Attribution(spans.shared(values), coarsened=spans.coarsened)


TEXT_METHODS: Mapping[str, Method[MaskedText]] = {
    "layer-integrated-gradients": Method(
        lambda text, label, _seed: layer_integrated_gradients(text, label), signed=True, unit=UNIT
    ),
    "occlusion": Method(_occlusion, signed=True, unit="probability"),
    "integrated-gradients": Method(
        lambda text, label, _seed: integrated_gradients(text, label), signed=True, unit=UNIT
    ),
    "shapley": Method(_shapley, signed=True, unit=UNIT),
    "pool-weights": Method(
        lambda text, _label, _seed: Attribution(pool_weights(text.classifier, text.read)),
        signed=False,
        unit="attention weight",
    ),
}

# The most faithful on 40 training reviews of IMDB under the fast recipe, and the second quickest: a
# mean score of 0.81, before occlusion (0.80, of 31), integrated gradients (0.77), Shapley values
# (0.70, of 31) and pool weights (0.22); random orders 0.01. Deletion beat random orders on all of
# them, that by pool weights on 31. `qkv evaluate --explanations` measures a run's own.
DEFAULT_TEXT_METHOD = "layer-integrated-gradients"


def text_methods(classifier: TextClassifier) -> tuple[str, ...]:
    """The methods that go with a classifier, the default first."""
    pools = pooling_queries(classifier) > 0
    return tuple(name for name in TEXT_METHODS if pools or name != "pool-weights")


def layer_attention(layer: int, head: int | None, query: str | None) -> Method[MaskedText]:
    """Attention of one layer of the encoder, as `explain_attention` describes it."""

    def compute(text: MaskedText, _label: int, _seed: int) -> Attribution:
        read = text.read.words_read
        row = None if query is None else _word([text.words[index].text for index in read], query)
        weights = encoder_attention(text.classifier, text.text, layer, head)
        contributions = np.zeros(text.parts)
        contributions[read] = weights.mean(axis=0) if row is None else weights[row]
        return Attribution(contributions)

    return Method(compute, signed=False, unit="attention weight")


def _word(words: list[str], query: str) -> int:
    lower = [word.lower() for word in words]
    if query.lower() not in lower:
        raise DataError(
            f"there is no word {query!r} among those that are read",
            remedy=nearest(query.lower(), set(lower), what="words"),
        )
    return lower.index(query.lower())


# Tokens that all texts of a measurement of faithfulness have together, or a little more.
MEASURED_TOKENS = 48_000
_FEWEST_ORDERS, _FEWEST_STEPS = 2, 6


def explain_text(
    classifier: TextClassifier,
    text: str,
    *,
    method: str | None = None,
    methods: Mapping[str, Method[MaskedText]] = TEXT_METHODS,
    label: str | None = None,
    seed: int = 0,
) -> TextExplanation:
    """Which words of a text speak for a class, and how far that can be believed.

    `method` is a key of `methods`; the other arguments are those of `qkv.explain`.

    Raises:
        DataError: the text is empty or none, or there is no such class.
        RecipeError: there is no such method, or it does not go with this classifier.
    """
    chosen = chosen_method(method, methods, DEFAULT_TEXT_METHOD)
    masked = MaskedText(classifier, classifier.read(text))
    # Of a long text faithfulness has fewer random orders, then fewer steps. Deleted and inserted
    # texts have half the tokens on average; the ends of curves are shared.
    curves = MEASURED_TOKENS // masked.read.tokens
    orders = max(min(RANDOM_ORDERS, curves // (STEPS - 1) - 1), _FEWEST_ORDERS)
    steps = max(min(STEPS, curves // (orders + 1) + 1), _FEWEST_STEPS)
    _, fields = common_fields(
        masked,
        methods[chosen],
        classifier.class_names,
        label,
        seed,
        steps=steps,
        random_orders=orders,
    )
    # Words up to the last that anything reads; n-grams read them all.
    read = masked.read.words_read
    last = masked.parts if classifier.stack is not None else 1 + max(read.tolist(), default=-1)
    return TextExplanation(
        input=text, method=chosen, **fields, text=text, words=masked.words, read=last
    )
