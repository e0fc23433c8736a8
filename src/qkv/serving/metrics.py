"""What the server counts of itself, in the text form that Prometheus reads."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
INPUTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CONTENT_TYPE = CONTENT_TYPE_LATEST

# What a request asked for where no route answered it: names from outside would be endless labels.
NO_ROUTE = "none"
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class Metrics:
    """Counts and times of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "qkv_requests",
            "Answered requests; route is the template, or none.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "qkv_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self._active = Gauge("qkv_requests_active", "Requests being answered.", registry=registry)
        self._batches = Histogram(
            "qkv_batch_inputs",
            "Inputs computed together.",
            ("model",),
            buckets=INPUTS,
            registry=registry,
        )
        self._batch_seconds = Histogram(
            "qkv_batch_seconds",
            "Time of one computation.",
            ("model",),
            buckets=SECONDS,
            registry=registry,
        )
        self._computed = Counter(
            "qkv_computed",
            "What was computed: unit is images or tokens.",
            ("model", "unit"),
            registry=registry,
        )
        self._waiting = Gauge(
            "qkv_queue_depth", "Inputs that wait in a queue.", ("queue",), registry=registry
        )

    def request_began(self) -> None:
        """A request's head is there."""
        self._active.inc()

    def request_ended(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request, by the template of its path, has its answer after so many seconds."""
        self._active.dec()
        known = method if method in METHODS else "other"
        self._requests.labels(route, known, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def of_batches(self, model: str, unit: str) -> Callable[[int, int, float], None]:
        """What counts the batches of a model, from any thread: inputs, units, seconds."""
        inputs, seconds = self._batches.labels(model), self._batch_seconds.labels(model)
        units = self._computed.labels(model, unit)

        def count(batch_inputs: int, batch_units: int, batch_seconds: float) -> None:
            inputs.observe(batch_inputs)
            seconds.observe(batch_seconds)
            units.inc(batch_units)

        return count

    def watch_queue(self, queue: str, depth: Callable[[], int]) -> None:
        """Report what `depth` says, whenever the metrics are read, under the queue's name."""
        self._waiting.labels(queue).set_function(depth)

    def render(self) -> bytes:
        """All of it as text; its type is `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class MetricsCount:
    """ASGI middleware that counts and times answers by the scope's `route`."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and count it."""
        # A client that goes away gets no answer: 499, as proxies count it. An application that
        # fails before it answers is told so outside of this: 500.
        status = 499

        async def watching_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        self._metrics.request_began()
        try:
            await self._app(scope, receive, watching_send)
        except Exception:  # only noted; `SecurityHeaders` answers for it
            status = 500
            raise
        finally:
            route = getattr(scope.get("route"), "path", None) or NO_ROUTE
            self._metrics.request_ended(route, scope["method"], status, time.perf_counter() - began)
