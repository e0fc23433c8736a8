"""Load on servers of this machine, made by a process of its own.

In an open loop requests are sent when they are due, whatever has been answered by then; in a closed
loop so many requests are always under way. The process imports neither torch nor numpy, and its
HTTP client does only what it needs: a general one would take more time than the servers measured
here, on the very cores that they need.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import multiprocessing
import random
import re
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any, Self

from qkv.errors import QKVError

MOST_CONNECTIONS = 900
"""Open at once unless told otherwise, few enough for the usual limit of open files. Beyond that a
request waits, and its latency grows as if it had been sent."""
BROKEN = -1
"""The status of a request whose connection failed."""
Scores = Mapping[str, float]
"""The scores of an answer, by label."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+) *\r\n")

OK = 200
LATE_SHARE = 0.01
PATIENCE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 0.02
LONGEST_SECONDS = 60.0
RANKS = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "max": 1.0}


def request_bytes(port: int, path: str, content_type: str, body: bytes) -> bytes:
    """A whole POST request to this machine."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: */*\r\n"
        f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


class Client:
    """Sends each request on a connection that is free, or on a new one.

    Answers must come with a Content-Length; any other framing counts as broken.

    Args:
        port: of the server, on this machine.
        most: connections that are open at once.

    Attributes:
        connections: how many are open.
    """

    def __init__(self, port: int, most: int = MOST_CONNECTIONS) -> None:
        self._port = port
        self._slots = asyncio.Semaphore(most)
        # The last one used is used next, so that there are no more than needed.
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.connections = 0

    async def post(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request and wait for its answer: the status, or `BROKEN`, and the body."""
        async with self._slots:
            try:
                reader, writer = self._free.pop() if self._free else await self._connect()
            except OSError:
                return BROKEN, b""
            answered = keeps = False
            try:
                writer.write(request)
                head = (await reader.readuntil(_HEAD_END)).lower()
                if length := _LENGTH.search(head):
                    body = await reader.readexactly(int(length[1]))
                    answered, keeps = True, b"\r\nconnection: close" not in head
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            finally:
                if keeps:
                    self._free.append((reader, writer))
                else:
                    self.connections -= 1
                    writer.close()
            return (int(head[9:12]), body) if answered else (BROKEN, b"")

    def close(self) -> None:
        """Close the connections that are free."""
        for _, writer in self._free:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = await asyncio.open_connection("127.0.0.1", self._port)
        self.connections += 1
        return connection


def read_scores(body: bytes) -> dict[str, float]:
    """The scores of `[{"label", "score"}, …]`, by label.

    Raises:
        ValueError: the body is something else.
    """
    try:
        return {str(entry["label"]): float(entry["score"]) for entry in json.loads(body)}
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a list of labels and scores: {body[:80]!r}") from error


def difference(one: Scores, other: Scores) -> float:
    """The greatest difference between two scores of a label.

    Infinite if the labels differ, or a score is not a number.
    """
    if one.keys() != other.keys():
        return math.inf
    differences = [abs(score - other[label]) for label, score in one.items()]
    # The maximum of numbers and NaN may be either.
    return math.inf if any(map(math.isnan, differences)) else max(differences, default=0.0)


def is_right(body: bytes, expected: Scores, tolerance: float) -> bool:
    """Whether an answer has the expected scores, each off by no more than the tolerance."""
    try:
        return difference(read_scores(body), expected) <= tolerance
    except ValueError:
        return False


@dataclass(frozen=True)
class Target:
    """What is sent to one server."""

    port: int  # of the server, on this machine
    requests: Sequence[bytes]  # whole requests, sent over and over in order
    # the scores of each request's answer; None: answers are not judged
    expected: Sequence[Scores] | None = None
    tolerance: float = 0.0  # how much a score may be off


class LoadGenerator:
    """A process that sends requests to servers on this machine; a context manager."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve_commands, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def add_target(self, name: str, target: Target) -> None:
        """Make a server known by a name, or known anew."""
        self._call(_add_target, name, target)

    def open_loop(
        self, name: str, rate: float, seconds: float, *, seed: int, **options: Any
    ) -> dict[str, Any]:
        """Poisson arrivals at `rate` a second, `options` as of `OpenLoop`: what its `run` gives."""
        return self._call(_open_loop, name, poisson_arrivals(rate, seconds, seed), **options)

    def at_the_same_moment(self, name: str, count: int, **options: Any) -> dict[str, Any]:
        """Requests that are all due at once: what `OpenLoop.run` returns."""
        return self._call(_open_loop, name, [0.0] * count, **options)

    def one_at_a_time(self, name: str, count: int) -> dict[str, Any]:
        """Requests of which each waits for the one before: what `closed_loop` returns."""
        return self._call(_closed_loop, name, concurrency=1, count=count)

    def saturate(self, name: str, concurrency: int, seconds: float) -> dict[str, Any]:
        """So many requests always under way, for a time: what `closed_loop` returns."""
        return self._call(_closed_loop, name, concurrency=concurrency, seconds=seconds)

    def _call(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            self._pipe.send((work, arguments, options))
            outcome: dict[str, Any] = self._pipe.recv()
            return outcome
        except (EOFError, OSError):
            raise QKVError(
                "the process that makes the load has ended",
                remedy="see what it printed above, and measure again",
            ) from None


# Of the process that makes the load.
_targets: dict[str, Target] = {}


def _serve_commands(pipe: Pipe) -> None:
    # Ctrl-C is for the benchmark, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            work, arguments, options = pipe.recv()
        except EOFError:
            return
        pipe.send(work(*arguments, **options))


def _add_target(name: str, target: Target) -> dict[str, Any]:
    _targets[name] = target
    return {}


def _open_loop(name: str, arrivals: Sequence[float], **options: Any) -> dict[str, Any]:
    return _run(OpenLoop(_targets[name], arrivals, **options).run())


def _closed_loop(name: str, **options: Any) -> dict[str, Any]:
    return _run(closed_loop(_targets[name], **options))


def _run(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run in an event loop, uvloop's where it is installed: it leaves the servers more time."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times in [0, seconds) at which independent users send, `rate` a second on average."""
    generator = random.Random(seed)  # noqa: S311 -- arrivals, not secrets
    times: list[float] = []
    now = generator.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += generator.expovariate(rate)
    return times


class OpenLoop:
    """Requests sent at given times.

    A latency is counted from the time at which its request was due, so a server that holds up the
    generator is not excused (Tene 2013, "How not to measure latency": coordinated omission).

    Args:
        target: where to send what; its expected answers are compared once all is over.
        arrivals: seconds from the start, ascending.
        limit_seconds: it is given up once more than 1 % of the requests are sure to take longer,
            or one has failed; None: it is never given up.
        patience_seconds: how long the last answers are waited for.
        connections: open at once at most.
        tick_seconds: between two looks at what is due, at least: requests due within one are sent
            together. It leaves the processor to the server, at the cost of that much latency.
    """

    def __init__(
        self,
        target: Target,
        arrivals: Sequence[float],
        *,
        limit_seconds: float | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        connections: int = MOST_CONNECTIONS,
        tick_seconds: float = 0.0,
    ) -> None:
        self._target = target
        self._arrivals = arrivals
        self._limit = limit_seconds
        self._patience = patience_seconds
        self._tick = tick_seconds
        self._client = Client(target.port, connections)
        self._under_way: set[asyncio.Task[None]] = set()
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
            self._send_due(self._now())
            self._give_up_if_lost()
            if self._sent < len(self._arrivals):
                pause = max(self._arrivals[self._sent] - self._now(), self._tick)
                await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))
        sending = self._now()
        cpu = time.process_time() - cpu_before
        while self._ended < self._sent and not self._given_up:
            if self._now() > sending + self._patience:
                break
            await asyncio.sleep(0.002)
            self._give_up_if_lost()
        connections = self._client.connections
        # The event loop cancels what is still under way.
        self._client.close()
        return self._summary(sending) | {
            "connections": connections,
            "generator_cpu_share": cpu / sending if sending else 0.0,
        }

    def _now(self) -> float:
        return time.perf_counter() - self._started

    def _send_due(self, now: float) -> None:
        while self._sent < len(self._arrivals) and self._arrivals[self._sent] <= now:
            task = asyncio.create_task(self._post(self._sent))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            self._lags.append(now - self._arrivals[self._sent])
            self._sent += 1

    async def _post(self, number: int) -> None:
        requests = self._target.requests
        status, body = await self._client.post(requests[number % len(requests)])
        now = self._now()
        latency = now - self._arrivals[number]
        self._latencies[number] = latency
        self._by_status.setdefault(status, []).append(latency)
        self._ended += 1
        if status == OK:
            self._answered_at.append(now)
            self._bodies[number] = body

    def _give_up_if_lost(self) -> None:
        if self._limit is None:
            return
        now = self._now()
        while self._judged < self._sent and self._arrivals[self._judged] + self._limit < now:
            latency = self._latencies[self._judged]
            self._late += latency is None or latency > self._limit
            self._judged += 1
        too_many = self._late > LATE_SHARE * len(self._arrivals)
        self._given_up = too_many or any(status != OK for status in self._by_status)

    def _is_right(self, number: int, body: bytes) -> bool:
        expected = self._target.expected
        if expected is None:
            return True
        return is_right(body, expected[number % len(expected)], self._target.tolerance)

    def _summary(self, sending: float) -> dict[str, Any]:
        oks = self._by_status.get(OK, [])
        wrong = sum(not self._is_right(number, body) for number, body in self._bodies.items())
        # Of a load that was given up, what is still under way is nobody's fault.
        unanswered = 0 if self._given_up else self._sent - self._ended
        each_second = [0] * math.ceil(sending)
        for at in self._answered_at:
            if at < len(each_second):
                each_second[int(at)] += 1
        # What the last answers took beyond that is no throughput.
        in_time = sum(at <= sending for at in self._answered_at)
        return {
            "due": len(self._arrivals),
            "sent": self._sent,
            "answered": len(oks),
            "errors": self._ended - len(oks) + wrong + unanswered,
            "wrong_answers": wrong,
            "unanswered": unanswered,
            "given_up": self._given_up,
            "latency_ms": percentiles(oks),
            "by_status": _by_status_name(self._by_status),
            "lag_ms": percentiles(self._lags),
            "sending_seconds": sending,
            "answers_per_second": in_time / sending if sending else 0.0,
            "answers_each_second": each_second,
        }


async def closed_loop(
    target: Target,
    *,
    concurrency: int,
    count: int | None = None,
    seconds: float = LONGEST_SECONDS,
) -> dict[str, Any]:
    """Send a request whenever one is answered; answers are not judged.

    Args:
        target: where to send what.
        concurrency: how many are under way at any time.
        count: how many are sent in all; None: any number.
        seconds: from when on none is sent any more.
    """
    client = Client(target.port)
    started = time.perf_counter()
    by_status: dict[int, list[float]] = {}
    numbers = itertools.count() if count is None else iter(range(count))

    async def post_in_turn() -> None:
        for number in numbers:
            if (sent_at := time.perf_counter()) - started >= seconds:
                return
            status = BROKEN
            try:
                status, _ = await client.post(target.requests[number % len(target.requests)])
            finally:
                by_status.setdefault(status, []).append(time.perf_counter() - sent_at)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds + PATIENCE_SECONDS):
            await asyncio.gather(*(post_in_turn() for _ in range(concurrency)))
    client.close()
    oks = by_status.get(OK, [])
    sent = sum(map(len, by_status.values()))
    return {
        "sent": sent,
        "answered": len(oks),
        "errors": sent - len(oks),
        "by_status": _by_status_name(by_status),
        "latency_ms": percentiles(oks),
        "answers_per_second": len(oks) / (time.perf_counter() - started),
    }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Nearest-rank percentiles in milliseconds, by name; empty for no values."""
    if not seconds:
        return {}
    values = sorted(seconds)
    return {
        name: 1000 * values[max(0, math.ceil(share * len(values)) - 1)]
        for name, share in RANKS.items()
    }


def _by_status_name(latencies: Mapping[int, Sequence[float]]) -> dict[str, dict[str, Any]]:
    return {
        "broken" if status == BROKEN else str(status): {
            "count": len(values),
            "latency_ms": percentiles(values),
        }
        for status, values in sorted(latencies.items())
    }
