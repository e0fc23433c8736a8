"""Requests a second that a server bears: `qkv serve`, a plain FastAPI app, and LitServe.

All serve the same weights with the same preprocessing, and their answers are checked equal first.
The load is an open loop of Poisson arrivals from a process of its own; a latency counts from the
time at which its request was due. A rate is borne if no request fails, every answer is right, and
the 99th percentile stays within max(130 ms, 3 x the median latency of requests one at a time).
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.serving.contest import Contest, Effort, ratios, summary
from benchmarks.serving.contestant import TICK_SECONDS
from benchmarks.serving.generator import LoadGenerator
from benchmarks.serving.packages import require_packages
from benchmarks.serving.rates import Search
from benchmarks.serving.servers import (
    Kind,
    Setup,
    Task,
    fastapi_setups,
    litserve_setups,
    qkv_setups,
)
from benchmarks.serving.subject import TOLERANCES, make_subject
from qkv.measurement.timing import quartiles

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        inputs: different requests, by task.
        made: whether they are made up even where the data are at hand.
        setups: of each server that are tried at most; the best is measured.
        effort: of the searches.
    """

    inputs: Mapping[Task, int] = field(default_factory=lambda: {"vision": 512, "text": 192})
    made: bool = False
    setups: int = 8
    effort: Effort = field(default_factory=Effort)


_QUICK_SEARCH = Search(
    least_requests=5,
    burst_seconds=(0.3, 0.3),
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

    Args:
        quick: few made-up inputs and short bursts, to see that it runs; the figures mean nothing.
        progress: called with (done, total) searches; if given, what they find is told on standard
            error too.

    Returns:
        `ratios` (`vision_vs_fastapi`, `vision_vs_litserve`, `text_vs_fastapi`,
        `text_vs_litserve`; above 1 qkv bears more) and `figures`.

    Raises:
        QKVError: a server does not start or ends, answers differ, or no rate is borne.
        MissingExtraError: a package of the servers is not installed.
    """
    require_packages()
    sizes = QUICK_SIZES if quick else Sizes()
    setups: dict[Task, dict[Kind, list[Setup]]] = {
        task: {
            "qkv": qkv_setups(task)[: sizes.setups],
            "fastapi": fastapi_setups()[: sizes.setups],
            "litserve": litserve_setups(task)[: sizes.setups],
        }
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
            subject = make_subject(task, Path(scratch), sizes.inputs[task], made=sizes.made)
            contest = Contest(subject, sizes.effort, generator, advance=advance, note=note)
            chosen: dict[Kind, Setup] = {}
            guesses: dict[Kind, float] = {}
            sweeps: dict[str, Any] = {}
            for kind in ways:
                chosen[kind], guess, sweeps[kind] = contest.choose(ways[kind])
                if guess is not None:
                    guesses[kind] = guess
            measured = contest.compare(chosen, guesses)
            paired = ratios(measured)
            all_ratios |= {
                f"{task}_vs_{kind}": statistics.median(values) for kind, values in paired.items()
            }
            figures[task] = {
                **{kind: summary(one) for kind, one in measured.items()},
                "quartiles_ratios": {kind: quartiles(values) for kind, values in paired.items()},
                "tolerance": TOLERANCES[task],
                "inputs": subject.inputs.source,
                "different_inputs": len(subject.inputs.bodies),
                "tried": sweeps,
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
