"""An open loop: requests are sent when they are due, whatever has been answered by then."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.serving.latencies import percentiles, status_name
from benchmarks.serving.pool import MOST_CONNECTIONS, Pool
from benchmarks.serving.wire import Connection

OK = 200
LATE_SHARE = 0.01
PATIENCE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 0.02

Right = Callable[[int, bytes], bool]
"""Whether the body of an answer is right, given the number of its request."""


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times in [0, seconds) at which independent users send, `rate` a second on average."""
    generator = random.Random(seed)  # noqa: S311 -- arrivals, not secrets
    times: list[float] = []
    now = generator.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += generator.expovariate(rate)
    return times


class Burst:
    """Requests sent at given times.

    A latency is counted from the time at which its request was due, so a server that holds up the
    generator is not excused (Tene 2013, "How not to measure latency": coordinated omission).

    Args:
        port: of the server, on this machine.
        requests: whole requests; number i sends the i-th, over and over.
        arrivals: seconds from the start, ascending.
        limit_seconds: the burst is given up once more than 1 % of its requests are sure to take
            longer, or one has failed; None: it is never given up.
        right: judges bodies, once the burst is over; None: any body will do.
        patience_seconds: how long the last answers are waited for.
        connections: open at once at most.
        tick_seconds: between two looks at what is due, at least: requests due within one are sent
            together. It leaves the processor to the server, at the cost of that much latency.
    """

    def __init__(
        self,
        port: int,
        requests: Sequence[bytes],
        arrivals: Sequence[float],
        *,
        limit_seconds: float | None = None,
        right: Right | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        connections: int = MOST_CONNECTIONS,
        tick_seconds: float = 0.0,
    ) -> None:
        self._tick = tick_seconds
        self._requests = requests
        self._arrivals = arrivals
        self._limit = math.inf if limit_seconds is None else limit_seconds
        self._bounded = limit_seconds is not None
        self._right = right
        self._patience = patience_seconds
        self._pool = Pool(port, self._answered, connections)
        self._latencies: list[float | None] = [None] * len(arrivals)
        self._by_status: dict[int, list[float]] = {}
        self._answered_at: list[float] = []
        self._bodies: dict[int, bytes] = {}
        self._lags: list[float] = []
        self._started = 0.0
        self._sent = self._ended = self._judged = self._late = 0
        self._given_up = False

    async def run(self) -> dict[str, Any]:
        """Send everything, wait for the answers, and sum up."""
        # Not the event loop's clock: uvloop's stands still within a turn, and ticks in ms.
        cpu_before = time.process_time()
        self._started = time.perf_counter()
        while self._sent < len(self._arrivals) and not self._given_up:
            self._send_due(time.perf_counter() - self._started)
            self._give_up_if_lost(time.perf_counter() - self._started)
            if self._sent < len(self._arrivals):
                due = self._started + self._arrivals[self._sent]
                pause = max(due - time.perf_counter(), self._tick)
                await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))
        sending = time.perf_counter() - self._started
        cpu = time.process_time() - cpu_before
        while self._ended < self._sent and not self._given_up:
            if time.perf_counter() - self._started > sending + self._patience:
                break
            await asyncio.sleep(0.002)
            self._give_up_if_lost(time.perf_counter() - self._started)
        connections = self._pool.connections
        self._pool.close()
        await asyncio.sleep(0)
        return self._summary(sending) | {
            "connections": connections,
            "generator_cpu_share": cpu / sending if sending else 0.0,
        }

    def _send_due(self, now: float) -> None:
        while self._sent < len(self._arrivals) and self._arrivals[self._sent] <= now:
            number = self._sent
            self._sent += 1
            self._lags.append(now - self._arrivals[number])
            self._pool.send(self._requests[number % len(self._requests)], number)

    def _give_up_if_lost(self, now: float) -> None:
        if not self._bounded:
            return
        while self._judged < self._sent and self._arrivals[self._judged] + self._limit < now:
            latency = self._latencies[self._judged]
            self._late += latency is None or latency > self._limit
            self._judged += 1
        too_many = self._late > LATE_SHARE * len(self._arrivals)
        self._given_up = too_many or any(status != OK for status in self._by_status)

    def _answered(self, connection: Connection, status: int, body: bytes) -> None:
        now = time.perf_counter() - self._started
        number = connection.tag
        latency = now - self._arrivals[number]
        self._latencies[number] = latency
        self._by_status.setdefault(status, []).append(latency)
        self._ended += 1
        if status == OK:
            self._answered_at.append(now)
            if self._right is not None:
                self._bodies[number] = body

    def _summary(self, sending: float) -> dict[str, Any]:
        oks = self._by_status.get(OK, [])
        wrong = 0
        if self._right is not None:
            wrong = sum(not self._right(number, body) for number, body in self._bodies.items())
        # Of a burst that was given up, what is still under way is nobody's fault.
        unanswered = 0 if self._given_up else self._sent - self._ended
        each_second = [0] * math.ceil(sending)
        for at in self._answered_at:
            if at < len(each_second):
                each_second[int(at)] += 1
        return {
            "due": len(self._arrivals),
            "sent": self._sent,
            "answered": len(oks),
            "errors": self._ended - len(oks) + wrong + unanswered,
            "wrong_answers": wrong,
            "unanswered": unanswered,
            "given_up": self._given_up,
            "latency_ms": percentiles(oks),
            "by_status": {
                status_name(status): {"count": len(values), "latency_ms": percentiles(values)}
                for status, values in sorted(self._by_status.items())
            },
            "lag_ms": percentiles(self._lags),
            "sending_seconds": sending,
            # What the last answers took beyond that is no throughput.
            "answers_per_second": (
                sum(at <= sending for at in self._answered_at) / sending if sending else 0.0
            ),
            "answers_each_second": each_second,
        }
