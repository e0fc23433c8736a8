"""The studies at one setting each, as the page draws them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import cache

import torch
from typing_extensions import TypedDict

from qkv.errors import StudyError
from qkv.files import format_bytes
from qkv.measurement.timing import quartiles
from qkv.recurrence import alternating_states, alternating_sum, compare_even_odd
from qkv.studies.attention_costs import KERNELS, forward_call, given_and_kept_bytes, matrix_bytes
from qkv.studies.copying import CONSTANTS, TOKENS, error_over_law, log10_law, study_copying

MAX_INPUTS, MAX_DIGITS = 200, 100
_RELATIONS = {1.0: "more than", 0.0: "less than", 0.5: "as much as"}

# Of β.
SMALLEST, LARGEST = 0.01, 20.0
CURVE_TO, _CURVE_POINTS = 5.0, 101

LEAST, MOST, MOST_MEASURED = 16, 65_536, 4096
LEAST_WIDTH, MOST_WIDTH = 8, 256
HEAD_DIM = 64
COMPARED = ("plain", "fused", "linear")
_FLOAT_BYTES = 4
_ROUNDS, _SAMPLE_SECONDS = 5, 0.02


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
    """Follow h_t = x_t − h_(t−1), h_0 = 0, y_t = sigmoid(1000·h_t), exactly; 1 to 200 inputs.

    Raises:
        StudyError: one has more than 100 digits.
    """
    values = list(inputs)
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
                "y": 0.5 if states[t - 1] == 0 else float(states[t - 1] > 0),
                "closed_form": str(alternating_sum(values[:t])),
                "sign": -1 if (length - t) % 2 else 1,
            }
            for t in range(1, length + 1)
        ],
        "odd_sum": str(odd),
        "even_sum": str(even),
        "output": output,
        "verdict": _recurrence_verdict(odd, even, output),
    }


def _recurrence_verdict(odd: int, even: int, output: float | None) -> str:
    if output is None:
        return "With an odd number of inputs the last has no partner: add one, and y compares."
    return (
        f"In the end y is {output:g}: the even positions sum to {even}, "
        f"{_RELATIONS[output]} the {odd} of the odd ones."
    )


class CopiedToken(TypedDict):
    """One token and what attention makes of it.

    Attributes:
        name: such as `x1 = d + b`.
        scores: with each of the tokens.
        weights: on each of the tokens; they sum to 1.
        input: x along a, b, c and d, in units of β.
        output: y likewise.
        error: ‖y − x‖ / ‖x‖, from the closed form.
        measured: the same from the weights on the other tokens; None where float64 ends.
        log10_error: its logarithm, which never ends.
        limit: what its ratio to e^(−β²) tends to.
    """

    name: str
    scores: list[float]
    weights: list[float]
    input: list[float]
    output: list[float]
    error: float
    measured: float | None
    log10_error: float
    limit: float


class CopyingCurve(TypedDict):
    """The closed form from β = 0 to 5.

    Attributes:
        beta: ascending.
        log10_law: of e^(−β²).
        log10_errors: of ‖y − x‖ / ‖x‖, a list a token.
    """

    beta: list[float]
    log10_law: list[float]
    log10_errors: list[list[float]]


class CopyingAnswer(TypedDict):
    """The study at one β."""

    beta: float
    law: float
    log10_law: float
    tokens: list[CopiedToken]
    curve: CopyingCurve
    verdict: str
    notes: list[str]


def answer_copying(beta: float) -> CopyingAnswer:
    """Attention on x1 = d + b, x2 = a, x3 = c + b, where a to d are orthogonal and of norm β."""
    found = study_copying([beta])
    inputs = ([0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0])
    return {
        "beta": beta,
        "law": math.exp(-(beta**2)),
        "log10_law": log10_law(beta),
        "tokens": [
            {
                "name": TOKENS[number],
                "scores": point["scores"],
                "weights": point["weights"],
                "input": [float(part) for part in inputs[number]],
                "output": [part / beta for part in point["output"]],
                "error": 10 ** point["log10_error"],
                "measured": None
                if point["distance"] is None
                else point["distance"] / point["norm"],
                "log10_error": point["log10_error"],
                "limit": CONSTANTS[number],
            }
            for number, point in enumerate(found["points"])
        ],
        "curve": copying_curve(),
        "verdict": found["verdict"],
        "notes": found["notes"],
    }


@cache
def copying_curve() -> CopyingCurve:
    """The closed form on a grid that is even in β² as in the logarithm of the law."""
    grid = [CURVE_TO * math.sqrt(step / (_CURVE_POINTS - 1)) for step in range(_CURVE_POINTS)]
    return {
        "beta": grid,
        "log10_law": [log10_law(beta) for beta in grid],
        "log10_errors": [
            [log10_law(beta) + math.log10(error_over_law(beta, token)) for beta in grid]
            for token in range(len(TOKENS))
        ],
    }


class Cost(TypedDict):
    """One kernel at one length, forward, of one head in float32.

    Attributes:
        kernel: its name in `qkv.studies.attention_costs`.
        label: for people.
        operations: multiplications, additions, divisions, exponentials and comparisons.
        bytes: held at the worst moment, with inputs and output.
    """

    kernel: str
    label: str
    operations: int
    bytes: int


class CostCurves(TypedDict):
    """Costs by kernel along `tokens`, ascending."""

    tokens: list[int]
    operations: dict[str, list[int]]
    bytes: dict[str, list[int]]


class Crossings(TypedDict):
    """The least length at which linear attention costs no more than plain softmax attention."""

    operations: int
    bytes: int


class LinearAttentionAnswer(TypedDict):
    """The study at one length."""

    tokens: int
    head_dim: int
    costs: list[Cost]
    crossing: Crossings
    curve: CostCurves
    verdict: str


class MeasuredKernel(TypedDict):
    """Time of one call: median and quartiles over the rounds."""

    kernel: str
    label: str
    milliseconds: float
    quartiles_ms: list[float]


class MeasuredCosts(TypedDict):
    """Forward passes of one head in float32 on the server's CPU, measured in turn."""

    tokens: int
    head_dim: int
    rounds: int
    threads: int
    kernels: list[MeasuredKernel]


def answer_linear_attention(tokens: int, head_dim: int = HEAD_DIM) -> LinearAttentionAnswer:
    """Operations and bytes of each kernel, and where linear attention begins to cost less.

    With T tokens of width d, softmax attention takes 2dT² for the scores, 6T² to scale them and
    for the softmax, and 2dT² for the outputs. Linear attention with φ = elu + 1 takes 2d²T for the
    state Σ φ(k) vᵀ, 2d²T to read it, and 8dT for φ and the normaliser.
    """
    costs: list[Cost] = [
        {
            "kernel": name,
            "label": KERNELS[name].label,
            "operations": _operations(name, tokens, head_dim),
            "bytes": _bytes(name, tokens, head_dim),
        }
        for name in COMPARED
    ]
    # Powers of the fourth root of 2, so that a straight line on the screen has points enough.
    steps = 4 * round(math.log2(MOST // LEAST))
    grid = sorted({round(LEAST * 2 ** (step / 4)) for step in range(steps + 1)})
    return {
        "tokens": tokens,
        "head_dim": head_dim,
        "costs": costs,
        "crossing": {
            "operations": _crossing(_operations, head_dim),
            "bytes": _crossing(_bytes, head_dim),
        },
        "curve": {
            "tokens": grid,
            "operations": {n: [_operations(n, t, head_dim) for t in grid] for n in COMPARED},
            "bytes": {n: [_bytes(n, t, head_dim) for t in grid] for n in COMPARED},
        },
        "verdict": _costs_verdict(tokens, {cost["kernel"]: cost for cost in costs}),
    }


def measure_linear_attention(tokens: int, head_dim: int = HEAD_DIM) -> MeasuredCosts:
    """Time a forward pass of each kernel, interleaved; a second or so at the longest.

    Unlike `qkv.measurement.timing`, this leaves the garbage collector alone: collecting all that
    a server holds, between rounds, would stop the server's other threads for seconds.
    """
    calls: dict[str, Callable[[], object]] = {
        name: forward_call(name, tokens, head_dim) for name in COMPARED
    }
    for call in calls.values():
        call()  # the first pays for what later ones find ready
    samples: dict[str, list[float]] = {name: [] for name in COMPARED}
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            samples[name].append(1e3 * _seconds_of(call))
    times = {name: quartiles(samples[name]) for name in COMPARED}
    return {
        "tokens": tokens,
        "head_dim": head_dim,
        "rounds": _ROUNDS,
        "threads": torch.get_num_threads(),
        "kernels": [
            {
                "kernel": name,
                "label": KERNELS[name].label,
                "milliseconds": times[name][1],
                "quartiles_ms": times[name],
            }
            for name in COMPARED
        ],
    }


def _seconds_of(call: Callable[[], object]) -> float:
    """Of one call, as a mean over so many that the clock's grain does not matter."""
    started = time.perf_counter()
    done = 0
    while True:
        call()
        done += 1
        elapsed = time.perf_counter() - started
        if elapsed >= _SAMPLE_SECONDS:
            return elapsed / done


def _operations(name: str, tokens: int, head_dim: int) -> int:
    if KERNELS[name].time_power == 1:
        return (4 * head_dim + 8) * head_dim * tokens
    # The fused kernel does the same sums in another order; what it saves is memory.
    return (4 * head_dim + 6) * tokens**2


def _bytes(name: str, tokens: int, head_dim: int) -> int:
    given = given_and_kept_bytes("forward", tokens, head_dim)
    if KERNELS[name].time_power == 1:
        # The state: Σ φ(k) vᵀ, and for the normaliser Σ φ(k) and its magnitude.
        return given + (head_dim + 2) * head_dim * _FLOAT_BYTES
    return given + matrix_bytes(KERNELS[name], "forward", tokens)


def _crossing(cost: Callable[[str, int, int], int], head_dim: int) -> int:
    """There is one: what is quadratic over what is linear only grows with the length."""
    return next(
        t for t in range(1, MOST) if cost("linear", t, head_dim) <= cost("plain", t, head_dim)
    )


def _costs_verdict(tokens: int, costs: dict[str, Cost]) -> str:
    plain, linear = costs["plain"], costs["linear"]
    times = plain["operations"] / linear["operations"]
    shown = f"{times:,.0f}" if times >= 10 else f"{times:.2g}"
    held = f"{format_bytes(plain['bytes'])} against {format_bytes(linear['bytes'])}"
    return (
        f"At {tokens:,} tokens plain softmax attention does {shown} times the operations of "
        f"linear attention and holds {held}."
    )
