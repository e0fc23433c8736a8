"""What is being answered, and whether anything more may come."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from qkv.serving.guard.refusal import CLOSE, Refusal

# They stay open while the rest is being answered: how it goes is asked just then.
ALWAYS_OPEN = frozenset({"/healthz", "/metrics"})

_DRAINING = Refusal(
    503,
    "the server is stopping and takes no new requests",
    remedy="ask another one, or this one when it has started again",
    headers=(CLOSE, (b"retry-after", b"5")),
)


class Traffic:
    """Requests that are being answered.

    Attributes:
        active: how many there are, probes not counted.
        draining: whether new ones are refused.
    """

    def __init__(self) -> None:
        self.active = 0
        self.draining = False
        self._quiet = asyncio.Event()
        self._quiet.set()

    def began(self) -> None:
        """One more request is being answered."""
        self.active += 1
        self._quiet.clear()

    def ended(self) -> None:
        """One of them has its answer, or its client went away."""
        self.active -= 1
        if self.active == 0:
            self._quiet.set()

    async def quiet(self) -> None:
        """Wait until none is being answered."""
        await self._quiet.wait()


class TrafficCheck:
    """ASGI middleware that counts requests, and refuses new ones with 503 while draining.

    Args:
        app: what answers.
        traffic: where they are counted.
    """

    def __init__(self, app: ASGIApp, *, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http" or scope["path"] in ALWAYS_OPEN:
            await self._app(scope, receive, send)
            return
        traffic = self._traffic
        if traffic.draining:
            await _DRAINING(scope, receive, send)
            return
        traffic.began()
        try:
            await self._app(scope, receive, send)
        finally:
            traffic.ended()
