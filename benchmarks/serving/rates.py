"""The highest rate that a server bears: bracketed, halved, and confirmed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qkv.errors import QKVError

# However slow a server is, a burst without a request says nothing.
FEWEST_REQUESTS = 5

Offer = Callable[[float, float], dict[str, Any]]
"""Offers a rate for some seconds; what `Burst.run` returns."""


@dataclass(frozen=True)
class Search:
    """How finely and how long is searched.

    Attributes:
        limit_ms: the 99th percentile of latencies must not exceed it.
        least_requests: in a burst, for a 99th percentile that means something.
        burst_seconds: the least and the most that a burst lasts.
        confirm_seconds: the last burst, at the rate that is reported; 0: none.
        step: factor between rates until one is borne and one is not.
        precision: the highest rate borne and the lowest not borne differ by no more, as a share.
        chances: of a burst to be borne, before its rate counts as too high: a machine has hiccups.
        ceiling: requests a second beyond which is not searched.
        bursts: at most; a server that ends neither way by then is not measurable.
    """

    limit_ms: float = 130.0
    least_requests: int = 300
    burst_seconds: tuple[float, float] = (2.5, 6.0)
    confirm_seconds: float = 8.0
    step: float = 1.12
    precision: float = 0.04
    chances: int = 2
    ceiling: float = math.inf
    bursts: int = 40

    def seconds_at(self, rate: float) -> float:
        """How long a burst at that rate lasts."""
        least, most = self.burst_seconds
        return max(min(max(self.least_requests / rate, least), most), FEWEST_REQUESTS / rate)


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        rate: requests a second, confirmed.
        confirmed: the burst that confirmed it.
        tried: every burst: rate, seconds, whether it was borne, 99th percentile in ms.
    """

    rate: float
    confirmed: dict[str, Any]
    tried: list[dict[str, Any]] = field(default_factory=list)


def borne(burst: dict[str, Any], limit_ms: float) -> bool:
    """Whether a server bore a burst: no error, and a 99th percentile within the limit."""
    if burst["errors"] or burst["given_up"]:
        return False
    return not burst["due"] or bool(burst["latency_ms"]["p99"] <= limit_ms)


def highest_rate(offer: Offer, start: float, search: Search) -> Found:
    """Find the highest rate that is borne.

    A rate that is not confirmed is lowered by the precision.

    Args:
        offer: offers a rate.
        start: a guess, requests a second.
        search: how to search.

    Raises:
        QKVError: nothing was borne, or everything, within the bursts allowed.
    """
    tried: list[dict[str, Any]] = []

    def bears(rate: float, seconds: float) -> dict[str, Any] | None:
        for _ in range(search.chances):
            if len(tried) >= search.bursts:
                raise QKVError(
                    f"no highest rate after {len(tried)} bursts; the last was {rate:.3g} a second",
                    remedy="measure on a machine that does nothing else",
                )
            burst = offer(rate, seconds)
            good = borne(burst, search.limit_ms)
            tried.append(
                {
                    "rate": rate,
                    "seconds": burst["sending_seconds"],
                    "borne": good,
                    "p99_ms": burst["latency_ms"].get("p99"),
                }
            )
            if good:
                return burst
        return None

    low, high = _bracket(
        lambda rate: bears(rate, search.seconds_at(rate)) is not None, start, search
    )
    while high / low > 1 + search.precision:
        middle = math.sqrt(low * high)
        if bears(middle, search.seconds_at(middle)) is not None:
            low = middle
        else:
            high = middle
    while True:
        seconds = search.confirm_seconds or search.seconds_at(low)
        confirmed = bears(low, seconds)
        if confirmed is not None:
            return Found(low, confirmed, tried)
        low /= 1 + search.precision


def _bracket(bears: Callable[[float], bool], start: float, search: Search) -> tuple[float, float]:
    """A rate that is borne, and a higher one that is not, or the same at the ceiling."""
    rate = start
    if not bears(rate):
        while not bears(rate / search.step):
            rate /= search.step
        return rate / search.step, rate
    while rate * search.step <= search.ceiling:
        if not bears(rate * search.step):
            return rate, rate * search.step
        rate *= search.step
    return rate, rate
