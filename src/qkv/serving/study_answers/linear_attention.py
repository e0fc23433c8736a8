"""What both kinds of attention cost at one length: counted, and measured on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from typing_extensions import TypedDict

from qkv.errors import StudyError
from qkv.measurement.timing import quartiles
from qkv.studies.attention_costs import (
    KERNELS,
    as_bytes,
    forward_call,
    given_and_kept_bytes,
    matrix_bytes,
)

LEAST, MOST, MOST_MEASURED = 16, 65_536, 4096
LEAST_WIDTH, MOST_WIDTH = 8, 256
HEAD_DIM = 64
COMPARED = ("plain", "fused", "linear")
_FLOAT_BYTES = 4
_ROUNDS, _SAMPLE_SECONDS = 5, 0.02


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

    Raises:
        StudyError: a length not from 16 to 65,536, or a width not from 8 to 256.
    """
    _require(tokens, head_dim, MOST)
    costs = [_cost(name, tokens, head_dim) for name in COMPARED]
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
        "verdict": _verdict(tokens, {cost["kernel"]: cost for cost in costs}),
    }


def measure_linear_attention(tokens: int, head_dim: int = HEAD_DIM) -> MeasuredCosts:
    """Time a forward pass of each kernel, interleaved; a second or so at the longest.

    Unlike `qkv.measurement.timing`, this leaves the garbage collector alone: collecting all that
    a server holds, between rounds, would stop the server's other threads for seconds.

    Raises:
        StudyError: a length not from 16 to 4,096, or a width not from 8 to 256.
    """
    _require(tokens, head_dim, MOST_MEASURED)
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


def _require(tokens: int, head_dim: int, most: int) -> None:
    if not LEAST <= tokens <= most:
        raise StudyError(
            f"tokens is {tokens}", remedy=f"give a length from {LEAST:,} to {most:,} tokens"
        )
    if not LEAST_WIDTH <= head_dim <= MOST_WIDTH:
        raise StudyError(
            f"head_dim is {head_dim}", remedy=f"give a width from {LEAST_WIDTH} to {MOST_WIDTH}"
        )


def _cost(name: str, tokens: int, head_dim: int) -> Cost:
    return {
        "kernel": name,
        "label": KERNELS[name].label,
        "operations": _operations(name, tokens, head_dim),
        "bytes": _bytes(name, tokens, head_dim),
    }


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


def _verdict(tokens: int, costs: dict[str, Cost]) -> str:
    plain, linear = costs["plain"], costs["linear"]
    times = plain["operations"] / linear["operations"]
    shown = f"{times:,.0f}" if times >= 10 else f"{times:.2g}"
    held = f"{as_bytes(plain['bytes'])} against {as_bytes(linear['bytes'])}"
    return (
        f"At {tokens:,} tokens plain softmax attention does {shown} times the operations of "
        f"linear attention and holds {held}."
    )
