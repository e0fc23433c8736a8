"""Percentiles of latencies, and statuses by name."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.serving.wire import BROKEN

RANKS = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "max": 1.0}


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Nearest-rank percentiles in milliseconds, by name; empty for no values."""
    if not seconds:
        return {}
    values = sorted(seconds)
    return {
        name: 1000 * values[max(0, math.ceil(share * len(values)) - 1)]
        for name, share in RANKS.items()
    }


def status_name(status: int) -> str:
    """What a report calls an HTTP status, or a connection that broke."""
    return "broken" if status == BROKEN else str(status)
