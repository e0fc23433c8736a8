"""The benchmark's side of the process that makes the load."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self

from benchmarks.serving import module_environment
from benchmarks.serving.answers import Scores
from benchmarks.serving.burst import PATIENCE_SECONDS
from qkv.errors import QKVError


class LoadGenerator:
    """A process that sends requests to servers on this machine; a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=module_environment(),
            # Ctrl-C is for the benchmark, which then closes this process.
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def add_target(
        self,
        name: str,
        port: int,
        requests: Sequence[bytes],
        *,
        expected: Sequence[Scores] | None = None,
        tolerance: float = 0.0,
    ) -> None:
        """Make a server known, or known anew.

        Args:
            name: what to call it.
            port: where it listens on this machine.
            requests: whole requests, sent over and over.
            expected: the scores of each request's answer; None: answers are not judged.
            tolerance: how much a score may be off.
        """
        self._ask(
            kind="target",
            target=name,
            port=port,
            requests=[base64.b64encode(request).decode() for request in requests],
            expected=None if expected is None else [dict(scores) for scores in expected],
            tolerance=tolerance,
        )

    def burst(
        self,
        name: str,
        rate: float,
        seconds: float,
        *,
        seed: int,
        limit_seconds: float | None,
        patience_seconds: float = PATIENCE_SECONDS,
        tick_seconds: float = 0.0,
    ) -> dict[str, Any]:
        """Poisson arrivals at `rate` a second: what `Burst.run` returns."""
        return self._ask(
            kind="poisson",
            target=name,
            rate=rate,
            seconds=seconds,
            seed=seed,
            limit_seconds=limit_seconds,
            patience_seconds=patience_seconds,
            tick_seconds=tick_seconds,
        )

    def at_the_same_moment(
        self, name: str, count: int, *, connections: int, patience_seconds: float
    ) -> dict[str, Any]:
        """Requests that are all due at once: what `Burst.run` returns."""
        return self._ask(
            kind="burst",
            target=name,
            arrivals=[0.0] * count,
            connections=connections,
            patience_seconds=patience_seconds,
        )

    def one_at_a_time(self, name: str, count: int) -> dict[str, Any]:
        """Requests of which each waits for the one before."""
        return self._ask(kind="closed", target=name, concurrency=1, count=count)

    def at_once(self, name: str, concurrency: int, seconds: float) -> dict[str, Any]:
        """So many requests always under way, for a time."""
        return self._ask(kind="closed", target=name, concurrency=concurrency, seconds=seconds)

    def _ask(self, **command: Any) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise QKVError(
                "the process that makes the load has ended",
                remedy="see what it printed above, and measure again",
            )
        answer: dict[str, Any] = json.loads(line)
        return answer
