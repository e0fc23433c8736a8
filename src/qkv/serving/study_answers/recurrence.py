"""The alternating recurrence on a few integers, step by step, with its closed form beside."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import TypedDict

from qkv.errors import StudyError
from qkv.recurrence import alternating_states, alternating_sum, compare_even_odd

MAX_INPUTS, MAX_DIGITS = 200, 100
_RELATIONS = {1.0: "more than", 0.0: "less than", 0.5: "as much as"}


class RecurrenceStep(TypedDict):
    """One step; integers are decimal strings, since they may be of any size.

    Attributes:
        t: from 1.
        x: the input x_t.
        before: the state h_(t−1).
        h: the state h_t = x_t − h_(t−1).
        y: the output sigmoid(1000·h_t).
        closed_form: Σ_(k=1..t) (−1)^(t−k) x_k, summed anew.
        sign: of x_t in the last state, 1 or −1.
    """

    t: int
    x: str
    before: str
    h: str
    y: float
    closed_form: str
    sign: int


class RecurrenceAnswer(TypedDict):
    """All steps, and what the last of an even number says.

    Attributes:
        steps: in order.
        odd_sum: of the inputs at odd positions, a decimal string.
        even_sum: of those at even positions, likewise.
        output: sigmoid(1000·h_T); None after an odd number of inputs, which it says nothing of.
        verdict: one sentence.
    """

    steps: list[RecurrenceStep]
    odd_sum: str
    even_sum: str
    output: float | None
    verdict: str


def answer_recurrence(inputs: Sequence[int]) -> RecurrenceAnswer:
    """Follow h_t = x_t − h_(t−1), h_0 = 0, y_t = sigmoid(1000·h_t), exactly.

    Raises:
        StudyError: there is no input, or more than 200, or one has more than 100 digits.
    """
    values = list(inputs)
    if not 1 <= len(values) <= MAX_INPUTS:
        raise StudyError(
            f"the sequence has {len(values)} inputs", remedy=f"give from 1 to {MAX_INPUTS} integers"
        )
    for number, value in enumerate(values, start=1):
        if abs(value) >= 10**MAX_DIGITS:
            raise StudyError(
                f"input {number} has more than {MAX_DIGITS} digits", remedy="give smaller integers"
            )
    states = alternating_states(values)
    length = len(values)
    odd, even = sum(values[0::2]), sum(values[1::2])
    output = None if length % 2 else compare_even_odd(values)
    return {
        "steps": [
            {
                "t": t,
                "x": str(values[t - 1]),
                "before": str(states[t - 2] if t > 1 else 0),
                "h": str(states[t - 1]),
                "y": _output(states[t - 1]),
                "closed_form": str(alternating_sum(values[:t])),
                "sign": -1 if (length - t) % 2 else 1,
            }
            for t in range(1, length + 1)
        ],
        "odd_sum": str(odd),
        "even_sum": str(even),
        "output": output,
        "verdict": _verdict(odd, even, output),
    }


def _output(state: int) -> float:
    """sigmoid(1000·h) of an integer: a step, see `qkv.recurrence.compare_even_odd`."""
    return 0.5 if state == 0 else float(state > 0)


def _verdict(odd: int, even: int, output: float | None) -> str:
    if output is None:
        return "With an odd number of inputs the last has no partner: add one, and y compares."
    return (
        f"In the end y is {output:g}: the even positions sum to {even}, "
        f"{_RELATIONS[output]} the {odd} of the odd ones."
    )
