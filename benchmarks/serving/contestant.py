"""A server in a contest: gated by its answers, measured solo, searched for its highest rate."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.serving.answers import Scores, read_scores
from benchmarks.serving.ask import ask_each
from benchmarks.serving.generator import LoadGenerator
from benchmarks.serving.inputs import Inputs
from benchmarks.serving.rates import Found, Search, highest_rate
from benchmarks.serving.servers import Setup, Task
from benchmarks.serving.wire import request_bytes
from qkv.errors import QKVError

LEAST_LIMIT_MS = 130.0
SOLO_FACTOR = 3.0
# Each request would wake the generator, which has its processor from the server: at 1,500 a second
# it would take a quarter of a core, and from the faster server more than from the slower.
TICK_SECONDS = 0.002
OVERLOAD_TICK_SECONDS = 0.005
SETTLE_SECONDS = 60.0


class Contestant:
    """A started server that can be measured; a context manager, paused between measurements.

    Args:
        setup: which server, and how it is set up.
        folder: of the run that it serves.
        task: of that run.
        inputs: what is sent.
        generator: makes the load.

    Attributes:
        solo_ms: median latency of requests one at a time, once measured.
        limit_ms: of the 99th percentile under load.
        off_by: the greatest difference of a score from what was expected, once compared.
    """

    _numbers = itertools.count()

    def __init__(
        self,
        setup: Setup,
        folder: Path,
        task: Task,
        inputs: Inputs,
        generator: LoadGenerator,
    ) -> None:
        self.setup = setup
        self.server = setup.process(folder, task)
        self.solo_ms = 0.0
        self.limit_ms = LEAST_LIMIT_MS
        self.off_by = math.nan
        self._path = setup.predict_path(folder.name)
        self._inputs = inputs
        self._generator = generator
        self._target = f"{next(self._numbers)}"

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.__exit__(kind, error, trace)

    def scores(self) -> list[dict[str, float]]:
        """The scores of every input, asked for one at a time.

        Raises:
            QKVError: an answer is no list of labels and scores.
        """
        answers = ask_each(
            self.server.port, self._path, self._inputs.content_type, self._inputs.bodies
        )
        try:
            return [read_scores(body) for body in answers]
        except ValueError as error:
            raise QKVError(
                f"{self.setup.name} answered with {error}", remedy="mend the one that is wrong"
            ) from None

    def expect(self, expected: Sequence[Scores], tolerance: float) -> None:
        """From now on an answer that is off by more counts as an error."""
        self._generator.add_target(
            self._target,
            self.server.port,
            self._requests(),
            expected=expected,
            tolerance=tolerance,
        )

    def measure_solo(self, count: int, least_limit_ms: float = LEAST_LIMIT_MS) -> None:
        """Find the median latency of requests one at a time, and with it the limit."""
        self._generator.one_at_a_time(self._target, max(3, count // 4))
        solo = self._generator.one_at_a_time(self._target, count)
        if solo["errors"]:
            raise QKVError(
                f"{self.setup.name} failed one at a time: {solo['by_status']}",
                remedy="run its command by itself to see why",
            )
        self.solo_ms = solo["latency_ms"]["p50"]
        self.limit_ms = max(least_limit_ms, SOLO_FACTOR * self.solo_ms)

    def saturate(self, concurrency: int, seconds: float) -> dict[str, Any]:
        """So many requests always under way, for a time."""
        return self._generator.at_once(self._target, concurrency, seconds)

    def overload(
        self, rate: float, seconds: float, *, seed: int, patience_seconds: float
    ) -> dict[str, Any]:
        """A burst that is not given up, whatever becomes of it."""
        return self._generator.burst(
            self._target,
            rate,
            seconds,
            seed=seed,
            limit_seconds=None,
            patience_seconds=patience_seconds,
            tick_seconds=OVERLOAD_TICK_SECONDS,
        )

    def highest_rate(self, start: float, search: Search, seed: int) -> Found:
        """Search for the highest rate; the server is paused before and after."""
        seeds = itertools.count(1000 * seed)

        def offer(rate: float, seconds: float) -> dict[str, Any]:
            self.settle()
            return self._generator.burst(
                self._target,
                rate,
                seconds,
                seed=next(seeds),
                limit_seconds=self.limit_ms / 1000,
                tick_seconds=TICK_SECONDS,
            )

        self.server.resume()
        try:
            return highest_rate(offer, start, search)
        finally:
            self.server.require_alive()
            self.server.pause()

    def settle(self) -> None:
        """Wait until what an earlier burst left behind is done."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            solo = self._generator.one_at_a_time(self._target, 3)
            if solo["answered"] == 3 and solo["latency_ms"]["p50"] <= 2 * self.solo_ms + 5:
                return
            self.server.require_alive()
            time.sleep(0.1)
        raise QKVError(
            f"{self.setup.name} did not come to rest within {SETTLE_SECONDS:g} s",
            remedy="measure on a machine that does nothing else",
        )

    def _requests(self) -> list[bytes]:
        return [
            request_bytes(self.server.port, self._path, self._inputs.content_type, body)
            for body in self._inputs.bodies
        ]
