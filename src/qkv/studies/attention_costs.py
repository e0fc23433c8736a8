"""Time and memory of each way to attend, at one length after the other, within a budget."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypedDict, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from qkv.attention import linear_attention, softmax_attention
from qkv.attention.reference import Attend, quadratic_linear_attention, quadratic_softmax_attention
from qkv.errors import StudyError
from qkv.files import format_bytes
from qkv.measurement.memory import free_bytes, memory_of
from qkv.measurement.timing import LEAST_SAMPLE_SECONDS, quartiles, round_ratios, sampled

Work = Literal["forward", "train"]
WORKS: tuple[Work, ...] = ("forward", "train")
WORK_NAMES: dict[Work, str] = {"forward": "forward", "train": "forward + backward"}

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Kernel:
    """One way to attend."""

    label: str  # for people
    attend: Attend  # query, key and value, (batch, heads, tokens, head_dim) each, to an output
    twin: Attend  # the same function in its quadratic form
    time_power: int  # its time grows as tokens to this power
    matrices: dict[Work, int]  # how many T×T float32 matrices it holds at the worst moment, by work


def _elu_plus_one(x: Tensor) -> Tensor:
    return F.elu(x) + 1


_quadratic_linear = partial(quadratic_linear_attention, feature_map=_elu_plus_one)
_NONE: dict[Work, int] = {"forward": 0, "train": 0}

KERNELS: dict[str, Kernel] = {
    "plain": Kernel(
        "plain softmax",
        quadratic_softmax_attention,
        quadratic_softmax_attention,
        time_power=2,
        # Scores before and after scaling; then the weights, their gradient and that of the scores.
        matrices={"forward": 2, "train": 3},
    ),
    "fused": Kernel("fused softmax", softmax_attention, quadratic_softmax_attention, 2, _NONE),
    "linear": Kernel("linear", linear_attention, _quadratic_linear, 1, _NONE),
    "causal_linear": Kernel(
        "causal linear",
        partial(linear_attention, is_causal=True),
        partial(_quadratic_linear, is_causal=True),
        1,
        _NONE,
    ),
}


def made_up_inputs(work: Work, tokens: int, head_dim: int) -> list[Tensor]:
    """Normal query, key and value of one head, and the gradient that comes back if it trains."""
    generator = torch.Generator().manual_seed(0)
    count = 3 if work == "forward" else 4
    return [torch.randn(1, 1, tokens, head_dim, generator=generator) for _ in range(count)]


def prepared(attend: Attend, work: Work, inputs: list[Tensor]) -> Callable[[], object]:
    """The call to measure; it returns the output and, if it trains, the three gradients."""
    if work == "forward":
        query, key, value = inputs[:3]
        return lambda: attend(query, key, value)
    leaves = [tensor.detach().requires_grad_() for tensor in inputs[:3]]
    upstream = inputs[3]

    def train() -> list[Tensor]:
        output = attend(*leaves)
        return [output.detach(), *torch.autograd.grad(output, leaves, upstream)]

    return train


def given_and_kept_bytes(work: Work, tokens: int, head_dim: int) -> int:
    """Bytes of what goes into a call and of what it returns."""
    tensors = 3 + 1 if work == "forward" else 4 + 4
    return tensors * tokens * head_dim * _FLOAT_BYTES


def matrix_bytes(kernel: Kernel, work: Work, tokens: int) -> int:
    """Bytes of the T×T matrices that a call holds at the worst moment."""
    return kernel.matrices[work] * tokens * tokens * _FLOAT_BYTES


DEFAULT_MEMORY_MIB = 4096
_MIB = 2**20


class Budget:
    """Says what no longer fits seconds from now on, or bytes held at once; it stops nothing.

    Raises:
        StudyError: a limit is not positive.
    """

    def __init__(
        self, max_seconds: float, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not 0 < max_seconds < float("inf"):
            raise StudyError(
                f"--max-seconds is {max_seconds:g}", remedy="give a positive number of seconds"
            )
        if max_bytes <= 0:
            raise StudyError(
                f"--max-memory-mib is {max_bytes // _MIB}", remedy="give a positive number of MiB"
            )
        self.max_seconds = max_seconds
        self.max_bytes = max_bytes
        self._clock = clock
        self._started = clock()

    @property
    def spent_seconds(self) -> float:
        """Since the budget was made."""
        return self._clock() - self._started

    def refusal(self, seconds: float, needed_bytes: int, *, share: float = 1.0) -> str | None:
        """Why work of these predicted costs does not fit, or None if it does.

        `share` is the part of all seconds that may be spent after it.
        """
        if needed_bytes > self.max_bytes:
            return f"needs {format_bytes(needed_bytes)}"
        left = share * self.max_seconds - self.spent_seconds
        if seconds <= left:
            return None
        return f"needs {as_seconds(seconds)}" if left > 0 else "no time left"


def default_memory_mib() -> int:
    """4,096, or half of what is free where that is less."""
    free = free_bytes()
    if free is None:
        return DEFAULT_MEMORY_MIB
    return max(1, min(DEFAULT_MEMORY_MIB, free // 2 // _MIB))


def as_seconds(seconds: float) -> str:
    """Seconds for people, such as 40 s or 3.1 h."""
    if seconds < 600:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


ROUNDS, LEAST_ROUNDS = 7, 3
# Every kernel is tried once at this length, for the first predictions.
PROBE_TOKENS = 251
# Kernels at one length and work get fewer rounds where seven would take longer than this.
GROUP_SECONDS = 20.0
# Quadratic kernels may use this share of the time, so that some is left for what comes after.
QUADRATIC_SHARE = 0.8
# Calls beside the timed rounds: one for the memory, one to see how long it takes.
_UNTIMED_CALLS = 2


class Measurement(TypedDict):
    """One kernel at one length."""

    kernel: str  # its name in `KERNELS`
    work: Work  # "forward", or "train" for forward and backward
    tokens: int  # length of the sequence
    milliseconds: float | None  # of a call, median over the rounds
    quartiles_ms: list[float] | None  # lower quartile, median, upper quartile
    rounds: int | None  # samples taken
    calls_per_sample: int | None  # calls of which each sample is the mean
    # its time over that of bidirectional linear attention, median over rounds
    times_linear: float | None
    extra_bytes: int | None  # held at the worst moment beyond inputs and what is returned
    peak_bytes: int | None  # held at the worst moment beyond inputs
    skipped: str | None  # why nothing was measured; then all figures are None


class _Known(NamedTuple):
    tokens: int
    seconds: float
    extra_bytes: int


class CostMeasurer:
    """Measures what fits the budget; refuses what does not, by what it saw at shorter lengths."""

    def __init__(self, head_dim: int, budget: Budget) -> None:
        self._head_dim = head_dim
        self._budget = budget
        self._known: dict[tuple[str, Work], _Known] = {}
        for work in WORKS:
            inputs = made_up_inputs(work, PROBE_TOKENS, head_dim)
            calls = {
                name: prepared(kernel.attend, work, inputs) for name, kernel in KERNELS.items()
            }
            samples = sampled(calls, 1, least_seconds=0.0)
            for name, call in calls.items():
                self._known[name, work] = _Known(
                    PROBE_TOKENS, min(samples[name].seconds), memory_of(call).extra_bytes
                )

    def measure(self, names: Sequence[str], work: Work, tokens: int) -> list[Measurement]:
        """Memory of each of the kernels, then their times, interleaved; in the order of `names`."""
        refused, rounds = self._admit(names, work, tokens)
        admitted = [name for name in names if name not in refused]
        inputs = made_up_inputs(work, tokens, self._head_dim) if admitted else []
        calls = {name: prepared(KERNELS[name].attend, work, inputs) for name in admitted}
        memory = {name: memory_of(call) for name, call in calls.items()}
        samples = sampled(calls, rounds)
        rows: list[Measurement] = []
        for name in names:
            row = cast(Measurement, dict.fromkeys(Measurement.__annotations__))
            row["kernel"], row["work"], row["tokens"] = name, work, tokens
            row["skipped"] = refused.get(name)
            rows.append(row)
            if name in refused:
                continue
            times = quartiles([1e3 * seconds for seconds in samples[name].seconds])
            if tokens >= self._known[name, work].tokens:
                self._known[name, work] = _Known(tokens, times[1] / 1e3, memory[name].extra_bytes)
            row["milliseconds"], row["quartiles_ms"] = times[1], times
            row["rounds"], row["calls_per_sample"] = rounds, samples[name].calls
            row["extra_bytes"] = memory[name].extra_bytes
            row["peak_bytes"] = memory[name].peak_bytes
            if "linear" in samples:
                ratios = round_ratios(samples[name].seconds, samples["linear"].seconds)
                row["times_linear"] = statistics.median(ratios)
        return rows

    def predict_seconds(self, name: str, work: Work, tokens: int) -> float:
        """Of one call, by the power law of its kernel from the longest length measured."""
        known = self._known[name, work]
        return known.seconds * float((tokens / known.tokens) ** KERNELS[name].time_power)

    def predict_bytes(self, name: str, work: Work, tokens: int) -> int:
        """Held at the worst moment of a call, inputs and results included."""
        known = self._known[name, work]
        own = matrix_bytes(KERNELS[name], work, tokens)
        own = own or round(known.extra_bytes * tokens / known.tokens)
        return own + given_and_kept_bytes(work, tokens, self._head_dim)

    def predict_study_seconds(self, name: str, work: Work, tokens: int, rounds: int) -> float:
        """Of all calls that one measurement of so many rounds needs."""
        seconds = self.predict_seconds(name, work, tokens)
        return _UNTIMED_CALLS * seconds + rounds * max(seconds, LEAST_SAMPLE_SECONDS)

    def _admit(self, names: Sequence[str], work: Work, tokens: int) -> tuple[dict[str, str], int]:
        """Reasons against those that do not fit, and how many rounds the others get."""
        refused: dict[str, str] = {}
        least = each_round = 0.0
        # The cheap ones first: an expensive one must not take their time.
        for name in sorted(names, key=lambda name: self.predict_seconds(name, work, tokens)):
            own = self.predict_study_seconds(name, work, tokens, LEAST_ROUNDS)
            share = QUADRATIC_SHARE if KERNELS[name].time_power > 1 else 1.0
            needed = self.predict_bytes(name, work, tokens)
            reason = self._budget.refusal(least + own, needed, share=share)
            if reason is not None:
                refused[name] = reason
                continue
            least += own
            each_round += max(self.predict_seconds(name, work, tokens), LEAST_SAMPLE_SECONDS)
        left = QUADRATIC_SHARE * self._budget.max_seconds - self._budget.spent_seconds - least
        more = int(min(GROUP_SECONDS, max(0.0, left)) / each_round) if each_round else 0
        return refused, min(ROUNDS, LEAST_ROUNDS + more)


def forward_call(name: str, tokens: int, head_dim: int) -> Callable[[], object]:
    """A kernel's forward pass at a length, ready to time."""
    inputs = made_up_inputs("forward", tokens, head_dim)
    return prepared(KERNELS[name].attend, "forward", inputs)


# Below this many tokens fixed costs of a call hide its growth.
LONG_TOKENS = 1024
LEAST_POINTS = 3


class Fit(TypedDict):
    """cost ≈ factor · tokens^exponent."""

    exponent: float  # slope of the line through (log tokens, log cost)
    factor: float  # cost at one token, on that line, in the unit of the costs
    from_tokens: int  # shortest length of the fit
    to_tokens: int  # longest length of the fit
    points: int  # lengths in the fit


def fit_power_law(costs: Mapping[int, float]) -> Fit | None:
    """Least squares of log cost against log tokens, over the long lengths.

    Those are the lengths of 1,024 tokens and more or, if fewer than three of them were measured,
    the three longest of all. None with fewer than three lengths, or a cost of zero.
    """
    lengths = sorted(costs)
    long = [tokens for tokens in lengths if tokens >= LONG_TOKENS]
    if len(long) < LEAST_POINTS:
        long = lengths[-LEAST_POINTS:]
    if len(long) < LEAST_POINTS or min(costs[tokens] for tokens in long) <= 0:
        return None
    x = np.log(np.array(long, dtype=np.float64))
    y = np.log(np.array([costs[tokens] for tokens in long], dtype=np.float64))
    exponent = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return {
        "exponent": exponent,
        "factor": float(np.exp(y.mean() - exponent * x.mean())),
        "from_tokens": long[0],
        "to_tokens": long[-1],
        "points": len(long),
    }
