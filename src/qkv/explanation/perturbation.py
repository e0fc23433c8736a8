"""What a class loses with each part of an input alone."""

from __future__ import annotations

from typing import Literal

import numpy as np

from qkv.data.dataset import IntArray
from qkv.errors import ShapeError
from qkv.explanation.faithfulness import FloatArray, MaskedInput


def occlusion(masked: MaskedInput, label: int) -> FloatArray:
    """p(class | all parts) − p(class | all parts but one), for every part.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2. It
    costs one prediction a part. A part that another one can stand in for seems to matter little:
    `shapley_values` sees both.

    Returns:
        float64 (parts,), positive where the part speaks for the class.
    """
    parts = masked.parts
    keep = np.concatenate([np.ones((1, parts), dtype=bool), ~np.eye(parts, dtype=bool)])
    answers = masked.probabilities(keep)[:, label]
    return np.asarray(answers[0] - answers[1:])


PERMUTATIONS = 8

Unit = Literal["probability", "log odds"]


def shapley_values(
    masked: MaskedInput,
    label: int,
    *,
    unit: Unit = "probability",
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> FloatArray:
    """Shapley values of a class, estimated from random orders of an input's parts.

    The parts come in one by one; each is credited with what the class gains as it comes, and its
    value is the mean over the orders (Castro, Gómez and Tejada 2009, "Polynomial calculation of
    the Shapley value based on sampling"). Every order is followed by its reverse (antithetic
    sampling; Mitchell et al. 2022, "Sampling permutations for Shapley value estimation"), so that
    what two parts do together is shared out exactly by each pair of orders.

    The values sum to v(all parts) − v(no part), whatever the orders, where v is the probability of
    the class or its log odds log p/(1 − p). Few orders rank parts better by log odds, which still
    tell subsets apart where probabilities are all near 0 or 1. The cost is
    `permutations · (parts − 1) + 2` predictions.

    Args:
        masked: the input in parts.
        label: the explained class.
        unit: what is shared out.
        permutations: how many orders, an even number.
        seed: of the orders.

    Returns:
        float64 (parts,), positive where the part speaks for the class.

    Raises:
        ShapeError: the number of orders is odd or not positive.
    """
    if permutations < 2 or permutations % 2:
        raise ShapeError(f"{permutations} orders", remedy="ask for an even number, at least 2")
    parts = masked.parts
    random = np.random.default_rng(seed)
    forward = np.stack([random.permutation(parts) for _ in range(permutations // 2)])
    orders: IntArray = np.concatenate([forward, forward[:, ::-1]])
    # The place of each part in each order; before it has come it is not there.
    rank = np.argsort(orders, axis=1)
    sizes = np.arange(1, parts)
    inside = rank[:, None] < sizes[:, None]
    ends = np.array([[False] * parts, [True] * parts])
    shares = masked.probabilities(np.concatenate([ends, inside.reshape(-1, parts)]))
    answers = shares[:, label] if unit == "probability" else _log_odds(shares, label)
    none, everything = answers[:2]
    between = answers[2:].reshape(permutations, parts - 1)
    curves = np.pad(between, ((0, 0), (1, 1)), constant_values=((0, 0), (none, everything)))
    gains = np.take_along_axis(np.diff(curves, axis=1), rank, axis=1)
    return np.asarray(gains.mean(axis=0))


def _log_odds(probabilities: FloatArray, label: int) -> FloatArray:
    """Of rows of probabilities; where one of them is 0, as if it were the smallest number."""
    # The others summed keep the digits that 1 − p loses near 1.
    against = np.delete(probabilities, label, axis=1).sum(axis=1)
    least = np.finfo(np.float64).tiny
    return np.asarray(
        np.log(np.maximum(probabilities[:, label], least)) - np.log(np.maximum(against, least))
    )
