"""`qkv serve` under load: the rate it bears beside two baselines, and what overload does to it.

`serve`: `qkv serve`, a plain FastAPI app, and LitServe serve the same weights with the same
preprocessing, and their answers are checked equal first. The load is an open loop of Poisson
arrivals from a process of its own; a latency counts from the time at which its request was due. A
rate is borne if no request fails, every answer is right, and the 99th percentile stays within
max(130 ms, 3 x the median latency of requests one at a time).

`serve-overload`: the peak is what `qkv serve` answers with many requests always under way. Then
requests come in an open loop, ten times as many for a minute: goodput is the right answers a second
during that time.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.serving.load import LoadGenerator
from benchmarks.serving.search import TICK_SECONDS, Comparison, Effort, Search, SystemUnderTest
from benchmarks.serving.servers import (
    Kind,
    ServerProcess,
    Setup,
    Task,
    require_packages,
    setups_of,
)
from benchmarks.serving.workload import TOLERANCES, Workload, make_workload
from qkv.measurement.timing import quartiles
from qkv.progress import Progress

REFUSED = "429"
# What is answered in the first seconds says how fast the queue fills, and memory still grows into
# the batches that a full queue makes.
SETTLING_SECONDS = 5.0
SEED = 7


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    # different requests, by task
    inputs: Mapping[Task, int] = field(default_factory=lambda: {"vision": 512, "text": 192})
    made: bool = False  # whether they are made up even where the data are at hand
    setups: int = 8  # of each server that are tried at most; the best is measured
    effort: Effort = field(default_factory=Effort)  # of the searches


_QUICK_SEARCH = Search(
    least_requests=5,
    try_seconds=(0.3, 0.3),
    confirm_seconds=0.3,
    step=4.0,
    precision=3.1,
    ceiling=16.0,
)
QUICK_SIZES = Sizes(
    inputs={"vision": 8, "text": 4},
    made=True,
    setups=1,
    effort=Effort(
        solo=5,
        least_limit_ms=1000.0,
        rounds=1,
        guess=8.0,
        first=_QUICK_SEARCH,
        search=_QUICK_SEARCH,
    ),
)


def measure(*, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The highest rate that each server bears, for images and for texts.

    With `progress`, what its searches find is told on standard error too.

    Raises:
        QKVError: a server does not start or ends, answers differ, or no rate is borne.
        MissingExtraError: a package of the servers is not installed.
    """
    require_packages()
    sizes = QUICK_SIZES if quick else Sizes()
    setups: dict[Task, dict[Kind, list[Setup]]] = {
        task: {kind: tried[: sizes.setups] for kind, tried in setups_of(task).items()}
        for task in sizes.inputs
    }
    total = sum(
        # A server of one setup is searched once before its rounds.
        len(tried) + sizes.effort.rounds
        for ways in setups.values()
        for tried in ways.values()
    )
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    def note(words: str) -> None:
        if progress is not None:
            sys.stderr.write(f"{words}\n")
            sys.stderr.flush()

    all_ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    with TemporaryDirectory(prefix="qkv-bench-") as scratch, LoadGenerator() as generator:
        for task, ways in setups.items():
            workload = make_workload(task, Path(scratch), sizes.inputs[task], made=sizes.made)
            comparison = Comparison(workload, sizes.effort, generator, advance=advance, note=note)
            chosen: dict[Kind, Setup] = {}
            guesses: dict[Kind, float] = {}
            tried: dict[str, Any] = {}
            for kind in ways:
                chosen[kind], guess, tried[kind] = comparison.choose(ways[kind])
                if guess is not None:
                    guesses[kind] = guess
            measured, ratios = comparison.measure(chosen, guesses)
            all_ratios |= {
                f"{task}_vs_{kind}": statistics.median(values) for kind, values in ratios.items()
            }
            figures[task] = {
                **measured,
                "quartiles_ratios": {kind: quartiles(values) for kind, values in ratios.items()},
                "tolerance": TOLERANCES[task],
                "inputs": workload.inputs.source,
                "different_inputs": len(workload.inputs.bodies),
                "tried": tried,
            }
    return {
        "ratios": all_ratios,
        "figures": {
            **figures,
            "rounds": sizes.effort.rounds,
            "order": "qkv, fastapi, litserve, again and again; paused when it is not their turn",
            "load": "open loop, Poisson, one process of its own on the same machine, which sends "
            f"every {1000 * TICK_SECONDS:g} ms what is due; latencies count from when it was",
            "borne": "no error, every answer right, p99 <= max(130 ms, 3 x solo median)",
            "confirmed_seconds": sizes.effort.search.confirm_seconds,
            "torch_threads": {"qkv": torch.get_num_threads(), "baselines": "see their options"},
            "cores": os.cpu_count(),
            "quick": quick,
        },
    }


@dataclass(frozen=True)
class OverloadSizes:
    """How much is measured."""

    # different requests, and requests offered over the peak, by task. Images are so quick to
    # classify that the load of ten times as many would take the processor from the server
    overloads: Mapping[Task, tuple[int, float]] = field(
        default_factory=lambda: {"text": (192, 10.0), "vision": (512, 3.0)}
    )
    made: bool = False  # whether inputs are made up even where the data are at hand
    concurrency: int = 64  # requests always under way while the peak is measured
    peak_seconds: float = 20.0  # how long it is measured, before and after
    seconds: float = 60.0  # of overload
    patience_seconds: float = 60.0  # how long the last answers are waited for
    sample_seconds: float = 0.5  # between two looks at the memory


QUICK_OVERLOAD_SIZES = OverloadSizes(
    overloads={"vision": (8, 1.5)},
    made=True,
    concurrency=4,
    peak_seconds=0.5,
    seconds=1.0,
    patience_seconds=10.0,
    sample_seconds=0.1,
)


def measure_overload(*, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Goodput over the peak, latencies of refusals, and memory under overload.

    Raises:
        QKVError: the server does not start, ends, or gives wrong answers.
        MissingExtraError: a package of the server is not installed.
    """
    require_packages(baselines=False)
    sizes = QUICK_OVERLOAD_SIZES if quick else OverloadSizes()
    figures: dict[str, Any] = {}
    with TemporaryDirectory(prefix="qkv-bench-") as scratch, LoadGenerator() as generator:
        for number, (task, (inputs, factor)) in enumerate(sizes.overloads.items(), start=1):
            workload = make_workload(task, Path(scratch), inputs, made=sizes.made)
            figures[task] = _measure_task(workload, factor, sizes, generator)
            if progress is not None:
                progress(number, len(sizes.overloads))
    return {
        "ratios": {f"{task}_goodput": figures[task]["goodput_over_peak"] for task in figures},
        "figures": {**figures, "quick": quick},
    }


def _measure_task(
    workload: Workload, factor: float, sizes: OverloadSizes, generator: LoadGenerator
) -> dict[str, Any]:
    with SystemUnderTest(Setup("qkv", {}), workload, generator, solo=20) as system:
        before = system.saturate(sizes.concurrency, sizes.peak_seconds)["answers_per_second"]
        with _watched(system.server, sizes.sample_seconds) as memory:
            load = system.overload(
                factor * before,
                sizes.seconds,
                seed=SEED,
                patience_seconds=sizes.patience_seconds,
            )
        system.settle()
        after = system.saturate(sizes.concurrency, sizes.peak_seconds)["answers_per_second"]
        system.server.require_alive()
    # A machine's speed drifts within a minute: the mean is that of the minute between.
    peak = (before + after) / 2
    settled = min(SETTLING_SECONDS, sizes.seconds / 2)
    each_second = load["answers_each_second"]
    counted = each_second[round(settled) : int(load["sending_seconds"])] or each_second
    goodput = (sum(counted) / len(counted)) if not load["wrong_answers"] else 0.0
    refused = load["by_status"].get(REFUSED, {"count": 0, "latency_ms": {}})
    start = round(settled / sizes.sample_seconds)
    steady = memory[start : round(sizes.seconds / sizes.sample_seconds)] or memory
    return {
        "peak_per_second": peak,
        "peak_before_and_after": [before, after],
        "offered_per_second": load["due"] / sizes.seconds,
        "offered_over_peak": load["due"] / sizes.seconds / peak,
        "seconds": sizes.seconds,
        "goodput_per_second": goodput,
        "goodput_over_peak": goodput / peak,
        "refused": refused["count"],
        "refusal_ms": refused["latency_ms"],
        "answered": load["answered"],
        "answer_ms": load["latency_ms"],
        "wrong_answers": load["wrong_answers"],
        "unanswered": load["unanswered"],
        "by_status": {status: entry["count"] for status, entry in load["by_status"].items()},
        "memory_mb": [round(value / 1e6, 1) for value in (steady[0], max(steady), steady[-1])],
        "memory_growth": max(steady) / steady[0] - 1 if steady[0] else 0.0,
        "generator_lag_ms": load["lag_ms"],
        "generator_cpu_share": load["generator_cpu_share"],
        "connections": load["connections"],
    }


@contextmanager
def _watched(server: ServerProcess, every: float) -> Iterator[list[int]]:
    """The server's resident memory in bytes, looked at every so many seconds."""
    memory = [server.memory_bytes()]
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(every):
            memory.append(server.memory_bytes())

    watcher = threading.Thread(target=watch, name="memory", daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        finished.set()
        watcher.join()
