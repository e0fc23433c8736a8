"""Answers of a server, read and compared: the labels of an input with their scores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

Scores = Mapping[str, float]


def read_scores(body: bytes) -> dict[str, float]:
    """The scores of `[{"label", "score"}, …]`, by label.

    Raises:
        ValueError: the body is something else.
    """
    try:
        return {str(entry["label"]): float(entry["score"]) for entry in json.loads(body)}
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a list of labels and scores: {body[:80]!r}") from error


def difference(one: Scores, other: Scores) -> float:
    """The greatest difference between two scores of a label.

    Infinite if the labels differ, or a score is not a number.
    """
    if one.keys() != other.keys():
        return math.inf
    differences = [abs(score - other[label]) for label, score in one.items()]
    # The maximum of numbers and NaN may be either.
    return math.inf if any(map(math.isnan, differences)) else max(differences, default=0.0)


class Expected:
    """Judges answers by those that were expected.

    Args:
        scores: of each input, in order.
        tolerance: how much a score may be off.
    """

    def __init__(self, scores: Sequence[Scores], tolerance: float) -> None:
        self._scores = scores
        self._tolerance = tolerance

    def __call__(self, number: int, body: bytes) -> bool:
        """Whether this is the answer to request `number`, which repeats the inputs in order."""
        try:
            found = read_scores(body)
        except ValueError:
            return False
        expected = self._scores[number % len(self._scores)]
        return difference(found, expected) <= self._tolerance
