"""What a classifier answers, whatever it reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one input.

    Attributes:
        input: its path or text, or `image N` for what has neither.
        label: the class of the largest probability.
        probability: that probability.
        probabilities: every class with its probability.
    """

    input: str
    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class FailedInput:
    """An input that could not be read, and why."""

    input: str
    error: str
