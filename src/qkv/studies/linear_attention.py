"""What linear attention costs against softmax attention, in time and in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from qkv.attention.reference import require_agreement
from qkv.devices import machine_facts, resolve_device
from qkv.errors import StudyError
from qkv.measurement.timing import MULTIPLE, Crossing, bracket, refine, speed_ratio
from qkv.measurement.timing import ROUNDS as CROSSING_ROUNDS
from qkv.studies.attention_costs import (
    KERNELS,
    WORKS,
    Budget,
    CostMeasurer,
    Measurement,
    Work,
    default_memory_mib,
    fit_power_law,
    forward_call,
)
from qkv.studies.linear_attention_report import Exponents, FoundCrossing, report
from qkv.studies.study import MAX_TOKENS, StudyDocument

HEAD_DIM = 64
MAX_SECONDS = 300.0
LONG = 1_000_000
LEAST_LONG = 1024
MAX_HEAD_DIM = 1024
RIVALS = ("plain", "fused")
# Of all the seconds; the rest is for the great length.
CROSSING_SHARE = 0.9


class LinearAttentionDocument(StudyDocument):
    """The study of costs."""

    measurements: list[Measurement]  # every kernel, work and length
    long: list[Measurement]  # linear attention alone, at a great length, its half and its quarter
    exponents: list[Exponents]  # of time and of memory, by kernel and work
    crossings: list[FoundCrossing]  # against plain and against fused softmax attention
    budget: dict[str, float]  # allowed and spent


def study_linear_attention(
    lengths: Sequence[int],
    *,
    head_dim: int = HEAD_DIM,
    max_seconds: float = MAX_SECONDS,
    max_memory_mib: int | None = None,
    long: int = LONG,
    progress: Callable[[int, int], None] | None = None,
) -> LinearAttentionDocument:
    """Measure one head in float32 on the CPU: four kernels, forward, and forward and backward.

    No kernel is timed before its outputs and gradients agree with its plain form. At each length
    the kernels run in turn, several rounds, each sample lasting 20 ms or more. What would exceed
    the budget by prediction is skipped and named.

    Args:
        lengths: in tokens, ascending.
        head_dim: width of queries, keys and values.
        max_seconds: for the whole study.
        max_memory_mib: for the tensors held at one moment; None for 4,096 or, if that is less, half
            of what is free.
        long: a length for linear attention alone; 0 for none.
        progress: called with (done, total) steps.

    Raises:
        StudyError: a setting is wrong, or not even the cheapest kernel fits the budget.
        QKVError: a kernel disagrees with its plain form.
    """
    if not 1 <= head_dim <= MAX_HEAD_DIM:
        raise StudyError(
            f"--head-dim is {head_dim}", remedy=f"give a width from 1 to {MAX_HEAD_DIM:,}"
        )
    if long != 0 and not LEAST_LONG <= long <= MAX_TOKENS:
        raise StudyError(
            f"--long is {long}",
            remedy=f"give a length from {LEAST_LONG:,} to {MAX_TOKENS:,}, or 0 for none",
        )
    memory_mib = default_memory_mib() if max_memory_mib is None else max_memory_mib
    budget = Budget(max_seconds, memory_mib * 2**20)
    total = len(lengths) * len(WORKS) + len(RIVALS) + (3 if long else 0)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    require_agreement({name: (one.attend, one.twin) for name, one in KERNELS.items()}, head_dim)
    costs = CostMeasurer(head_dim, budget)
    measurements: list[Measurement] = []
    for tokens in lengths:
        for work in WORKS:
            measurements += costs.measure(list(KERNELS), work, tokens)
            step()
    if all(row["skipped"] for row in measurements):
        raise StudyError(
            f"nothing fits the budget: linear attention at {lengths[0]:,} tokens "
            f"{next(row['skipped'] for row in measurements if row['kernel'] == 'linear')}",
            remedy="give shorter --lengths, or more by --max-seconds or --max-memory-mib",
        )
    crossings: list[FoundCrossing] = []
    for rival in RIVALS:
        found = _crossing(rival, measurements, costs, budget, head_dim)
        crossings += [found] if found is not None else []
        step()
    great: list[Measurement] = []
    for tokens in (long // 4, long // 2, long) if long else ():
        great += costs.measure(["linear", "causal_linear"], "forward", tokens)
        step()
    settings: dict[str, Any] = {
        "lengths": list(lengths),
        "head_dim": head_dim,
        "heads": 1,
        "dtype": "float32",
        "feature_map": "elu",
        "device": "cpu",
        "max_seconds": max_seconds,
        "max_memory_mib": memory_mib,
        "long": long,
    }
    exponents = [_exponents(name, work, measurements) for work in WORKS for name in KERNELS]
    return {
        "study": "linear-attention",
        "settings": settings,
        **report(measurements, great, exponents, crossings, settings),
        "machine": machine_facts(resolve_device("cpu")),
        "measurements": measurements,
        "long": great,
        "exponents": exponents,
        "crossings": crossings,
        "budget": {
            "max_seconds": max_seconds,
            "spent_seconds": budget.spent_seconds,
            "max_memory_mib": memory_mib,
        },
    }


def _exponents(name: str, work: Work, measurements: Sequence[Measurement]) -> Exponents:
    rows = [row for row in measurements if row["kernel"] == name and row["work"] == work]
    times = {r["tokens"]: r["milliseconds"] for r in rows if r["milliseconds"] is not None}
    memory = {r["tokens"]: r["extra_bytes"] for r in rows if r["extra_bytes"] is not None}
    time, extra = fit_power_law(times), fit_power_law(memory)
    return {"kernel": name, "work": work, "time": time, "memory": extra}


def _crossing(
    rival: str,
    measurements: Sequence[Measurement],
    costs: CostMeasurer,
    budget: Budget,
    head_dim: int,
) -> FoundCrossing | None:
    """Bisect between the measured lengths around it, if there is time; None if none has both."""
    ratios = {
        row["tokens"]: row["times_linear"]
        for row in measurements
        if row["kernel"] == rival and row["work"] == "forward" and row["times_linear"] is not None
    }
    if not ratios:
        return None
    crossing = bracket(ratios)
    refined = _time_to_refine(rival, crossing, costs, budget)
    if refined:
        crossing = refine(
            lambda tokens: speed_ratio(
                forward_call("linear", tokens, head_dim),
                forward_call(rival, tokens, head_dim),
                CROSSING_ROUNDS,
            ),
            ratios,
        )
    return {
        "against": rival,
        "tokens": crossing.tokens,
        "slower_at": crossing.slower_at,
        "refined": refined,
        "ratios": list(crossing.ratios.items()),
    }


def _time_to_refine(rival: str, crossing: Crossing, costs: CostMeasurer, budget: Budget) -> bool:
    if crossing.tokens is None or crossing.slower_at is None:
        return False
    gap = (crossing.tokens - crossing.slower_at) / MULTIPLE
    steps = math.ceil(math.log2(max(2.0, gap)))
    seconds = sum(
        costs.predict_study_seconds(name, "forward", crossing.tokens, CROSSING_ROUNDS)
        for name in ("linear", rival)
    )
    return budget.refusal(steps * seconds, 0, share=CROSSING_SHARE) is None
