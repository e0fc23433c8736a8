"""Stacking against a general optimiser, and what it promises on the examples it is fitted to."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from qkv.errors import RecipeError, ShapeError
from qkv.text.stacking import Stack, fit_stack


def log_softmax(scores: Any) -> Any:
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def loss(logs: Any, labels: Any) -> float:
    return float(-logs[np.arange(len(labels)), labels].mean())


def opinions(
    seed: int, examples: int, classes: int, neural: float = 1.0, ngrams: float = 1.0
) -> tuple[Any, Any, Any]:
    """Two noisy opinions on random labels; a share below 0 is right less often than a guess."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, examples)
    truth = 2 * np.eye(classes)[labels]
    first = log_softmax(neural * truth + generator.standard_normal(truth.shape))
    second = log_softmax(ngrams * truth + generator.standard_normal(truth.shape))
    return first, second, labels


cases = st.builds(
    opinions,
    seed=st.integers(0, 10**6),
    examples=st.integers(1, 60),
    classes=st.integers(2, 5),
    neural=st.floats(-1, 2),
    ngrams=st.floats(-1, 2),
)


def objective(place: Any, first: Any, second: Any, labels: Any) -> float:
    scores = place[0] * first + place[1] * second + place[2:]
    away = place - np.array([1.0, *np.zeros(len(place) - 1)])
    return loss(log_softmax(scores), labels) + float(away @ away) / (2 * len(labels))


@settings(max_examples=40, deadline=None)
@given(cases)
def test_a_general_optimiser_finds_the_same(case: tuple[Any, Any, Any]) -> None:
    first, second, labels = case
    classes = first.shape[1]
    stack = fit_stack(first, second, labels)
    other = minimize(
        objective,
        np.array([1.0, *np.zeros(classes + 1)]),
        args=case,
        bounds=[(0, None)] * 2 + [(None, None)] * classes,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-9},
    )
    ours = np.array([stack.neural_weight, stack.ngram_weight, *stack.biases])
    assert objective(ours, *case) <= other.fun + 1e-10
    np.testing.assert_allclose(ours, other.x, atol=2e-3)


@settings(max_examples=100, deadline=None)
@given(cases)
def test_it_is_no_worse_than_either_alone(case: tuple[Any, Any, Any]) -> None:
    first, second, labels = case
    stack = fit_stack(first, second, labels)
    joint = loss(stack.log_probabilities(first, second), labels)
    assert joint <= loss(first, labels) + 1e-9
    assert joint <= loss(second, labels) + 1 / len(labels) + 1e-9
    assert stack.neural_weight >= 0
    assert stack.ngram_weight >= 0
    assert sum(stack.biases) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_two_independent_opinions_are_better_than_one(classes: int) -> None:
    first, second, labels = opinions(0, 4000, classes)
    stack = fit_stack(first[:2000], second[:2000], labels[:2000])
    joint = stack.log_probabilities(first[2000:], second[2000:])
    for alone in (first, second):
        held_out = alone[2000:]
        assert loss(joint, labels[2000:]) < loss(held_out, labels[2000:]) - 0.02
        right = (joint.argmax(axis=1) == labels[2000:]).mean()
        assert right > (held_out.argmax(axis=1) == labels[2000:]).mean() + 0.02


def test_few_examples_change_little() -> None:
    first, second, labels = opinions(3, 2, 2)
    stack = fit_stack(first, second, labels)
    assert abs(stack.neural_weight - 1) < 0.5
    assert stack.ngram_weight < 0.5
    assert max(map(abs, stack.biases)) < 0.5


def test_an_opinion_that_misleads_gets_no_weight() -> None:
    first, second, labels = opinions(1, 500, 3, ngrams=-1)
    stack = fit_stack(first, second, labels)
    assert stack.ngram_weight == 0
    second, first, labels = opinions(1, 500, 3, ngrams=-1)
    assert fit_stack(first, second, labels).neural_weight == 0


def test_biases_follow_the_class_frequencies() -> None:
    labels = np.array([0] * 3000 + [1] * 1000)
    nothing = np.full((4000, 2), np.log(0.5))
    stack = fit_stack(nothing, nothing, labels)
    shares = np.exp(stack.log_probabilities(nothing[:1], nothing[:1]))
    np.testing.assert_allclose(shares, [[0.75, 0.25]], atol=1e-3)


def test_without_ngrams_it_is_the_neural_model() -> None:
    first, second, _ = opinions(2, 20, 4)
    same = Stack(biases=(0.0,) * 4).log_probabilities(first, second)
    np.testing.assert_allclose(same, first, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(cases)
def test_it_goes_through_json(case: tuple[Any, Any, Any]) -> None:
    stack = fit_stack(*case)
    again = Stack.parse(json.loads(json.dumps(stack.model_dump(mode="json"))), where="run.json")
    assert again == stack
    logs = again.log_probabilities(*case[:2])
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1)
    np.testing.assert_array_equal(logs, stack.log_probabilities(*case[:2]))


def test_extreme_opinions_are_joined_too() -> None:
    sure = np.array([[0.0, -1e4], [-1e4, 0.0], [0.0, -1e4]])
    unsure = np.log(np.full((3, 2), 0.5))
    stack = fit_stack(sure, unsure, [0, 1, 1])
    assert stack.neural_weight < 0.01  # one such mistake costs more than all else
    assert np.isfinite(stack.log_probabilities(sure, unsure)).all()


@pytest.mark.parametrize(
    ("first", "second", "labels", "words"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), [0, 1], "shapes"),
        (np.zeros((2, 1)), np.zeros((2, 1)), [0, 0], "shapes"),
        (np.zeros(2), np.zeros(2), [0, 1], "shapes"),
        (np.full((2, 2), -np.inf), np.zeros((2, 2)), [0, 1], "neural model .*finite"),
        (np.zeros((2, 2)), np.full((2, 2), np.nan), [0, 1], "n-grams .*finite"),
        (np.zeros((2, 2)), np.zeros((2, 2)), [0, 2], "label 2"),
        (np.zeros((2, 2)), np.zeros((2, 2)), [0], "labels"),
        (np.zeros((2, 2)), np.zeros((2, 2)), [0.0, 1.0], "labels"),
        (np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, int), "shape"),
    ],
)
def test_what_does_not_fit_is_refused(first: Any, second: Any, labels: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=f"stack: .*{words}"):
        fit_stack(first, second, labels)


def test_other_classes_are_refused() -> None:
    with pytest.raises(ShapeError, match="2 classes, log probabilities of 3"):
        Stack(biases=(0.0, 0.0)).log_probabilities(np.zeros((1, 3)), np.zeros((1, 3)))


@pytest.mark.parametrize(
    "values",
    [{"biases": [0.0]}, {"biases": [0.0, 0.0], "ngram_weight": -0.1}, {"biases": [0.0, "1"]}, {}],
)
def test_a_damaged_stack_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"run\.json"):
        Stack.parse(values, where="run.json")
