"""Time and memory of each way to attend, at one length after the other, within a budget."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypedDict

from qkv.measurement.interleave import quartiles, round_ratios
from qkv.measurement.memory import memory_of
from qkv.measurement.samples import LEAST_SAMPLE_SECONDS, sampled
from qkv.studies.attention_kernels import (
    KERNELS,
    WORKS,
    Work,
    given_and_kept_bytes,
    made_up_inputs,
    matrix_bytes,
    prepared,
)
from qkv.studies.budget import Budget

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
    """One kernel at one length.

    Attributes:
        kernel: its name in `KERNELS`.
        work: "forward", or "train" for forward and backward.
        tokens: length of the sequence.
        milliseconds: of a call, median over the rounds.
        quartiles_ms: lower quartile, median, upper quartile.
        rounds: samples taken.
        calls_per_sample: calls of which each sample is the mean.
        times_linear: its time over that of bidirectional linear attention, median over rounds.
        extra_bytes: held at the worst moment beyond inputs and what is returned.
        peak_bytes: held at the worst moment beyond inputs.
        skipped: why nothing was measured; then all figures are None.
    """

    kernel: str
    work: Work
    tokens: int
    milliseconds: float | None
    quartiles_ms: list[float] | None
    rounds: int | None
    calls_per_sample: int | None
    times_linear: float | None
    extra_bytes: int | None
    peak_bytes: int | None
    skipped: str | None


class _Known(NamedTuple):
    tokens: int
    seconds: float
    extra_bytes: int


class CostMeasurer:
    """Measures what fits the budget and refuses what does not, by what it saw at shorter lengths.

    Args:
        head_dim: width of the one head.
        budget: of the whole study.
    """

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
        """Memory of each of the kernels, then their times, interleaved.

        Returns:
            A measurement for every name, in the same order.
        """
        refused, rounds = self._admit(names, work, tokens)
        admitted = [name for name in names if name not in refused]
        calls: dict[str, Callable[[], object]] = {}
        if admitted:
            inputs = made_up_inputs(work, tokens, self._head_dim)
            calls = {name: prepared(KERNELS[name].attend, work, inputs) for name in admitted}
        memory = {name: memory_of(call) for name, call in calls.items()}
        samples = sampled(calls, rounds)
        rows: list[Measurement] = []
        for name in names:
            if name in refused:
                rows.append(_skipped(name, work, tokens, refused[name]))
                continue
            times = quartiles([1e3 * seconds for seconds in samples[name].seconds])
            self._learn(name, work, _Known(tokens, times[1] / 1e3, memory[name].extra_bytes))
            rows.append(
                {
                    "kernel": name,
                    "work": work,
                    "tokens": tokens,
                    "milliseconds": times[1],
                    "quartiles_ms": times,
                    "rounds": rounds,
                    "calls_per_sample": samples[name].calls,
                    "times_linear": statistics.median(
                        round_ratios(samples[name].seconds, samples["linear"].seconds)
                    )
                    if "linear" in samples
                    else None,
                    "extra_bytes": memory[name].extra_bytes,
                    "peak_bytes": memory[name].peak_bytes,
                    "skipped": None,
                }
            )
        return rows

    def predict_seconds(self, name: str, work: Work, tokens: int) -> float:
        """Of one call, by the power law of its kernel from the longest length measured."""
        known = self._known[name, work]
        return known.seconds * float((tokens / known.tokens) ** KERNELS[name].time_power)

    def predict_bytes(self, name: str, work: Work, tokens: int) -> int:
        """Held at the worst moment of a call, inputs and results included."""
        known = self._known[name, work]
        kernel = KERNELS[name]
        own = matrix_bytes(kernel, work, tokens)
        if not own:
            own = round(known.extra_bytes * tokens / known.tokens)
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

    def _learn(self, name: str, work: Work, known: _Known) -> None:
        if known.tokens >= self._known[name, work].tokens:
            self._known[name, work] = known


def forward_call(name: str, tokens: int, head_dim: int) -> Callable[[], object]:
    """A kernel's forward pass at a length, ready to time."""
    inputs = made_up_inputs("forward", tokens, head_dim)
    return prepared(KERNELS[name].attend, "forward", inputs)


def _skipped(name: str, work: Work, tokens: int, reason: str) -> Measurement:
    return {
        "kernel": name,
        "work": work,
        "tokens": tokens,
        "milliseconds": None,
        "quartiles_ms": None,
        "rounds": None,
        "calls_per_sample": None,
        "times_linear": None,
        "extra_bytes": None,
        "peak_bytes": None,
        "skipped": reason,
    }
