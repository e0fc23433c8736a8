"""Bodies of requests: counted as they come, and awaited for so long only.

A route gets its body whole or not at all, so that nothing half-sent occupies a model.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qkv.serving.guard.deadline import Deadline
from qkv.serving.guard.refusal import CLOSE, Refusal

# A client that is still sending when it is refused gets this long to see that before the
# connection ends; a reset could otherwise overtake the answer.
LINGER_SECONDS = 2.0
WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})

_LATE = Refusal(
    408,
    "the body of the request did not come in time",
    remedy="send it faster, or a smaller one",
    headers=(CLOSE,),
)
_MALFORMED = Refusal(
    400, "Content-Length is not a number", remedy="send the body's length", headers=(CLOSE,)
)
_CROWDED = Refusal(
    429,
    "the bodies of other requests fill the memory set aside for them",
    remedy="try again a little later",
    headers=(CLOSE, (b"retry-after", b"1")),
)


class _RefusedError(Exception):
    """Reading stopped because of `refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


class BodyLimit:
    """ASGI middleware that bounds bodies in bytes and time.

    A body that is declared or turns out to be too large gets 413, one that comes too slowly 408;
    both end the connection. The bodies of all requests together are bounded as well: 429.

    Args:
        app: what answers; it receives a body as one message.
        max_bytes: of one body.
        max_held_bytes: of the bodies of all requests that are being read or answered.
        timeout_seconds: from the end of the request's head to the end of its body.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, max_held_bytes: int, timeout_seconds: float
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_held = max(max_held_bytes, max_bytes)
        self._deadline = Deadline(timeout_seconds)
        self.held = 0
        self._large = Refusal(
            413,
            f"the body of the request is larger than {max_bytes:,} bytes",
            remedy="send a smaller one, or fewer inputs at a time",
            headers=(CLOSE,),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the whole body at hand, or refuse."""
        if scope["type"] != "http" or scope["method"] in WITHOUT_BODY:
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-length":
                if not value.isdigit():
                    await _MALFORMED(scope, receive, send)
                    return
                if int(value) > self._max_bytes:
                    await _refuse_sender(self._large, receive, send)
                    return
        reading = _Reading(self)
        try:
            try:
                with self._deadline.step():
                    body = await reading.whole(receive)
            except TimeoutError:
                await _LATE(scope, receive, send)
                return
            except _RefusedError as error:
                reading.release()
                if reading.ended:
                    await error.refusal(scope, receive, send)
                else:
                    await _refuse_sender(error.refusal, receive, send)
                return
            if body is None:  # the client has gone
                return
            await self._app(scope, _replay(body, receive), send)
        finally:
            reading.release()

    def take(self, count: int, so_far: int) -> None:
        """Account for `count` more bytes of a body of which `so_far` are there.

        Raises:
            _RefusedError: that is more than one body, or all together, may have.
        """
        if so_far + count > self._max_bytes:
            raise _RefusedError(self._large)
        if self.held + count > self._max_held:
            raise _RefusedError(_CROWDED)
        self.held += count


class _Reading:
    """One body that is being read, and the share of memory that it holds."""

    __slots__ = ("_count", "_limit", "ended")

    def __init__(self, limit: BodyLimit) -> None:
        self._limit = limit
        self._count = 0
        self.ended = False

    async def whole(self, receive: Receive) -> bytes | None:
        """All of the body; None if the client went away before its end."""
        # One buffer: chunks of a byte each would take many times their size if they were kept.
        buffer = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            chunk: bytes = message.get("body", b"")
            self.ended = not message.get("more_body", False)
            self._limit.take(len(chunk), self._count)
            self._count += len(chunk)
            if self.ended and not buffer:
                return chunk
            buffer += chunk
            if self.ended:
                return bytes(buffer)

    def release(self) -> None:
        """Give back the share of memory."""
        self._limit.held -= self._count
        self._count = 0


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body as one message, then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


async def _refuse_sender(refusal: Refusal, receive: Receive, send: Send) -> None:
    """Refuse a client that is still sending, and let it see so before the connection ends."""
    await send(refusal.start)
    await send({**refusal.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (message := await receive())["type"] == "http.request":
                if not message.get("more_body", False):
                    break
    await send({"type": "http.response.body", "body": b"", "more_body": False})
