"""The servers that are measured, each by its command, its path, and how it is set up."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.serving.processes import ServerProcess, free_port

Task = Literal["vision", "text"]
Kind = Literal["qkv", "fastapi", "litserve"]

# As many as the models of the benchmark have at most.
MOST_CLASSES = 10
NAMES: dict[Kind, str] = {
    "qkv": "qkv serve",
    "fastapi": "plain FastAPI",
    "litserve": "LitServe",
}


@dataclass(frozen=True)
class Setup:
    """A server and its settings.

    Attributes:
        kind: which.
        options: as on its command line, for the report too.
    """

    kind: Kind
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What a report calls it."""
        return NAMES[self.kind]

    def process(self, folder: Path, task: Task) -> ServerProcess:
        """The server of a run folder, not yet started."""
        port = free_port()
        arguments = ["--port", str(port), *_as_arguments(self.options)]
        if self.kind == "qkv":
            command = [sys.executable, "-m", "qkv", "serve", str(folder), *arguments]
            return ServerProcess(self.name, command, port, ready_path="/readyz")
        module = {"fastapi": "plain_fastapi", "litserve": "litserve_app"}[self.kind]
        command = [
            *(sys.executable, "-m", f"benchmarks.serving.{module}"),
            *("--run", str(folder), "--task", task, *arguments),
        ]
        return ServerProcess(
            self.name,
            command,
            port,
            ready_path="/health",
            # Rust's threads beside the pool's would only get in each other's way.
            environment={"TOKENIZERS_PARALLELISM": "false"},
        )

    def predict_path(self, model: str) -> str:
        """Where a request for all scores of an input goes."""
        if self.kind == "qkv":
            return f"/v1/models/{model}/predict?top_k={MOST_CLASSES}"
        return "/predict"


def qkv_setup() -> Setup:
    """`qkv serve` as it comes."""
    return Setup("qkv", {})


def qkv_setups(task: Task) -> list[Setup]:
    """Ways to set up `qkv serve`, of which the fastest is measured."""
    setups = [qkv_setup()]
    if task == "vision":  # of texts there are so few a second that nothing is gained
        setups.append(Setup("qkv", {"processes": True}))
    return setups


def fastapi_setups() -> list[Setup]:
    """Ways to set up the plain app, of which the fastest is measured."""
    cores = os.cpu_count() or 1
    threads = sorted({1, cores})
    return [Setup("fastapi", {"threads": count}) for count in threads]


def litserve_setups(task: Task) -> list[Setup]:
    """Ways to set up LitServe, of which the fastest is measured."""
    cores = os.cpu_count() or 1
    sizes = {"vision": (16, 64), "text": (4, 16)}[task]
    # One process of one core, one of all, and one for each.
    ways = [{"threads": 1}, {"threads": cores}, {"threads": 1, "workers": cores}]
    setups = [
        {**way, "max-batch-size": size, "batch-timeout": 0.005}
        for way in (ways if cores > 1 else ways[:1])
        for size in sizes
    ]
    if task == "vision":  # where what passes between the processes weighs most
        setups.append({**setups[-2], "fast-queue": True})
    return [Setup("litserve", options) for options in setups]


def _as_arguments(options: Mapping[str, Any]) -> list[str]:
    arguments: list[str] = []
    for name, value in options.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value is not False:
            arguments += [f"--{name}", str(value)]
    return arguments
