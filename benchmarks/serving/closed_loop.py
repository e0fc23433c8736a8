"""A closed loop: so many requests are always under way, one being the solo case."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.serving.burst import OK
from benchmarks.serving.latencies import percentiles, status_name
from benchmarks.serving.pool import Pool
from benchmarks.serving.wire import BROKEN, Connection

LONGEST_SECONDS = 60.0
PATIENCE_SECONDS = 10.0


async def closed_loop(
    port: int,
    requests: Sequence[bytes],
    *,
    concurrency: int,
    count: int | None = None,
    seconds: float = LONGEST_SECONDS,
) -> dict[str, Any]:
    """Send a request whenever one is answered.

    Args:
        port: of the server, on this machine.
        requests: whole requests, sent over and over in order.
        concurrency: how many are under way at any time.
        count: how many are sent in all; None: any number.
        seconds: from when on none is sent any more.
    """
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    started = time.perf_counter()
    sent_at: dict[int, float] = {}
    by_status: dict[int, list[float]] = {}
    most = math.inf if count is None else count
    sent = 0

    def send_next() -> None:
        nonlocal sent
        now = time.perf_counter()
        if sent < most and now - started < seconds:
            sent_at[sent] = now
            sent += 1
            pool.send(requests[(sent - 1) % len(requests)], sent - 1)
        elif not sent_at and not finished.done():
            finished.set_result(None)

    def answered(connection: Connection, status: int, _: bytes) -> None:
        by_status.setdefault(status, []).append(time.perf_counter() - sent_at.pop(connection.tag))
        # Not at once: the connection becomes free only when this returns.
        loop.call_soon(send_next)

    pool = Pool(port, answered)
    try:
        for _ in range(concurrency):
            send_next()
        async with asyncio.timeout(seconds + PATIENCE_SECONDS):
            await finished
    except TimeoutError:
        by_status.setdefault(BROKEN, []).extend(time.perf_counter() - at for at in sent_at.values())
    finally:
        pool.close()
    elapsed = time.perf_counter() - started
    oks = by_status.get(OK, [])
    return {
        "sent": sent,
        "answered": len(oks),
        "errors": sum(map(len, by_status.values())) - len(oks),
        "by_status": {status_name(s): {"count": len(v)} for s, v in sorted(by_status.items())},
        "latency_ms": percentiles(oks),
        "answers_per_second": len(oks) / elapsed,
        "elapsed_seconds": elapsed,
    }
