"""The process that makes the load: `python -m benchmarks.serving.load`.

It reads one JSON command a line from standard input, writes one JSON answer a line to standard
output, and ends with its input. Everything it sends goes to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from benchmarks.serving.answers import Expected
from benchmarks.serving.burst import Burst, poisson_arrivals
from benchmarks.serving.closed_loop import closed_loop


@dataclass(frozen=True)
class Target:
    """What is sent to one server.

    Attributes:
        port: of the server, on this machine.
        requests: whole requests.
        expected: judges the answers, if they were told.
    """

    port: int
    requests: list[bytes]
    expected: Expected | None


class Load:
    """Targets by name, and the commands on them."""

    def __init__(self) -> None:
        self._targets: dict[str, Target] = {}

    async def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry one command out."""
        kind = command.pop("kind")
        name = command.pop("target")
        if kind == "target":
            return self._add_target(name, **command)
        target = self._targets[name]
        if kind == "poisson":
            drawn = [command.pop(key) for key in ("rate", "seconds", "seed")]
            command["arrivals"] = poisson_arrivals(*drawn)
        if kind == "closed":
            return await closed_loop(target.port, target.requests, **command)
        burst = Burst(target.port, target.requests, right=target.expected, **command)
        return await burst.run()

    def _add_target(
        self,
        name: str,
        port: int,
        requests: list[str],
        expected: list[dict[str, float]] | None,
        tolerance: float,
    ) -> dict[str, Any]:
        judge = None if expected is None else Expected(expected, tolerance)
        self._targets[name] = Target(port, [base64.b64decode(text) for text in requests], judge)
        return {"requests": len(requests)}


def run_fast(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run in an event loop, uvloop's where it is installed: it leaves the servers more time."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def main() -> None:
    """Obey commands until there are no more."""
    load = Load()
    for line in sys.stdin:
        answer = run_fast(load.obey(json.loads(line)))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
