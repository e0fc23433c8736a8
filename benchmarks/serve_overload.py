"""What `qkv serve` does when far more is asked than it can answer.

The peak is what it answers with many requests always under way. Then requests come in an open loop,
ten times as many for a minute: goodput is the right answers a second during that time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.serving.contestant import Contestant
from benchmarks.serving.generator import LoadGenerator
from benchmarks.serving.packages import require_packages
from benchmarks.serving.processes import ServerProcess
from benchmarks.serving.servers import Task, qkv_setup
from benchmarks.serving.subject import TOLERANCES, Subject, make_subject, require_same_scores

Progress = Callable[[int, int], None]

REFUSED = "429"
# What is answered in the first seconds says how fast the queue fills, and memory still grows into
# the batches that a full queue makes.
SETTLING_SECONDS = 5.0
SEED = 7


@dataclass(frozen=True)
class Overload:
    """How much is asked.

    Attributes:
        inputs: different requests.
        factor: requests offered over the peak.
    """

    inputs: int
    factor: float


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        overloads: by task. Images are so quick to classify that the load of ten times as many
            would take the processor from the server; texts are not.
        made: whether inputs are made up even where the data are at hand.
        concurrency: requests always under way while the peak is measured.
        peak_seconds: how long it is measured, before and after.
        seconds: of overload.
        patience_seconds: how long the last answers are waited for.
        sample_seconds: between two looks at the memory.
    """

    overloads: Mapping[Task, Overload] = field(
        default_factory=lambda: {"text": Overload(192, 10.0), "vision": Overload(512, 3.0)}
    )
    made: bool = False
    concurrency: int = 64
    peak_seconds: float = 20.0
    seconds: float = 60.0
    patience_seconds: float = 60.0
    sample_seconds: float = 0.5


QUICK_SIZES = Sizes(
    overloads={"vision": Overload(8, 1.5)},
    made=True,
    concurrency=4,
    peak_seconds=0.5,
    seconds=1.0,
    patience_seconds=10.0,
    sample_seconds=0.1,
)


def measure(*, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Goodput, latencies of refusals, and memory under overload.

    Args:
        quick: a second of images, to see that it runs; the figures mean nothing.
        progress: called with (done, total) tasks.

    Returns:
        `ratios` (`text_goodput`, `vision_goodput`: over the peak) and `figures`.

    Raises:
        QKVError: the server does not start, ends, or gives wrong answers.
        MissingExtraError: a package of the server is not installed.
    """
    require_packages(baselines=False)
    sizes = QUICK_SIZES if quick else Sizes()
    figures: dict[str, Any] = {}
    with TemporaryDirectory(prefix="qkv-bench-") as scratch, LoadGenerator() as generator:
        for number, (task, overload) in enumerate(sizes.overloads.items(), start=1):
            subject = make_subject(task, Path(scratch), overload.inputs, made=sizes.made)
            figures[task] = _measure_task(subject, overload.factor, sizes, generator)
            if progress is not None:
                progress(number, len(sizes.overloads))
    return {
        "ratios": {f"{task}_goodput": figures[task]["goodput_over_peak"] for task in figures},
        "figures": {**figures, "quick": quick},
    }


def _measure_task(
    subject: Subject, factor: float, sizes: Sizes, generator: LoadGenerator
) -> dict[str, Any]:
    contestant = Contestant(qkv_setup(), subject.folder, subject.task, subject.inputs, generator)
    with contestant:
        require_same_scores("qkv serve", subject, contestant.scores())
        contestant.expect(subject.expected, TOLERANCES[subject.task])
        contestant.measure_solo(20)
        before = contestant.saturate(sizes.concurrency, sizes.peak_seconds)["answers_per_second"]
        with _watched(contestant.server, sizes.sample_seconds) as memory:
            burst = contestant.overload(
                factor * before,
                sizes.seconds,
                seed=SEED,
                patience_seconds=sizes.patience_seconds,
            )
        contestant.settle()
        after = contestant.saturate(sizes.concurrency, sizes.peak_seconds)["answers_per_second"]
        contestant.server.require_alive()
    # A machine's speed drifts within a minute: the mean is that of the minute between.
    peak = (before + after) / 2
    settled = min(SETTLING_SECONDS, sizes.seconds / 2)
    each_second = burst["answers_each_second"]
    counted = each_second[round(settled) : int(burst["sending_seconds"])] or each_second
    goodput = (sum(counted) / len(counted)) if not burst["wrong_answers"] else 0.0
    refused = burst["by_status"].get(REFUSED, {"count": 0, "latency_ms": {}})
    start = round(settled / sizes.sample_seconds)
    steady = memory[start : round(sizes.seconds / sizes.sample_seconds)] or memory
    return {
        "peak_per_second": peak,
        "peak_before_and_after": [before, after],
        "offered_per_second": burst["due"] / sizes.seconds,
        "offered_over_peak": burst["due"] / sizes.seconds / peak,
        "seconds": sizes.seconds,
        "goodput_per_second": goodput,
        "goodput_over_peak": goodput / peak,
        "refused": refused["count"],
        "refusal_ms": refused["latency_ms"],
        "answered": burst["answered"],
        "answer_ms": burst["latency_ms"],
        "wrong_answers": burst["wrong_answers"],
        "unanswered": burst["unanswered"],
        "by_status": {status: entry["count"] for status, entry in burst["by_status"].items()},
        "memory_mb": [round(value / 1e6, 1) for value in (steady[0], max(steady), steady[-1])],
        "memory_growth": max(steady) / steady[0] - 1 if steady[0] else 0.0,
        "generator_lag_ms": burst["lag_ms"],
        "generator_cpu_share": burst["generator_cpu_share"],
        "connections": burst["connections"],
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
