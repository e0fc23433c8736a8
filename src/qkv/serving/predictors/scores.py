"""The probabilities of one input, ranked, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

# The digits that a float32 holds.
_SCORE = "%s%.7g}"


class Scores:
    """Probabilities of one input, the largest first.

    Attributes:
        labels: the number of each class.
        values: its probability.
    """

    __slots__ = ("labels", "values")

    def __init__(self, labels: list[int], values: list[float]) -> None:
        self.labels = labels
        self.values = values


def ranked(probabilities: Float32[np.ndarray, "inputs classes"]) -> list[Scores]:
    """The scores of each input; equal ones in label order."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    values = np.take_along_axis(probabilities, order, axis=1)
    return [
        Scores(labels, row) for labels, row in zip(order.tolist(), values.tolist(), strict=True)
    ]


class ScoreWriter:
    """Writes scores as JSON: `[{"label": …, "score": …}, …]`, without spaces.

    Args:
        class_names: in label order.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._beginnings = [f'{{"label":{json.dumps(name)},"score":' for name in class_names]

    def write(self, scores: Scores, top_k: int | None) -> str:
        """The JSON of the `top_k` largest; None: of all."""
        beginnings = self._beginnings
        pairs = zip(scores.labels[:top_k], scores.values[:top_k], strict=True)
        return "[" + ",".join([_SCORE % (beginnings[label], value) for label, value in pairs]) + "]"
