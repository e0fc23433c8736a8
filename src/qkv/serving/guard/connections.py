"""Connections: bounded in number, in the size of a head, and in the time to send one.

uvicorn bounds none of these: a client that sends one byte a minute ("slowloris") would keep its
connection for ever. No timer is set for a request; `Deadlines.close_late` looks at all connections
now and then.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from qkv.serving.guard.early import EarlyProtocol, EarlyRefusals
from qkv.serving.guard.headers import refusal_bytes
from qkv.serving.guard.refusal import CLOSE, Refusal

MAX_HEAD_BYTES = 65_536

_MALFORMED = Refusal(400, "this is not an HTTP request", remedy="send HTTP/1.1")
_LARGE_HEAD = Refusal(
    431,
    f"the head of the request is larger than {MAX_HEAD_BYTES:,} bytes",
    remedy="send fewer or shorter headers",
)
_SLOW_HEAD = Refusal(408, "the head of the request did not come in time", remedy="send it at once")
_CROWDED = Refusal(
    429,
    "too many connections are open",
    remedy="try again a little later",
    headers=((b"retry-after", b"1"),),
)


class Deadlines:
    """The bounds of all connections of one server.

    Args:
        header_seconds: from a connection's opening, or a head's first byte, to the head's end.
        body_seconds: from the head's end to the body's; what answers may be stricter.
        max_connections: open at once.
    """

    def __init__(self, *, header_seconds: float, body_seconds: float, max_connections: int) -> None:
        self.header_seconds = header_seconds
        self.body_seconds = body_seconds
        self.max_connections = max_connections
        self.connections: set[BoundedProtocol] = set()

    def close_late(self) -> None:
        """Close the connections that are past a deadline."""
        now = time.monotonic()
        for connection in list(self.connections):
            if connection.is_stuck(now):
                connection.transport.abort()
            elif connection.is_late(now):
                connection.close_late()

    async def watch(self) -> None:
        """Close late connections for as long as this runs."""
        pause = min(0.5, self.header_seconds / 4, self.body_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            self.close_late()


class BoundedProtocol(EarlyProtocol):
    """HTTP/1.1 within the bounds of `deadlines`."""

    deadlines: Deadlines  # given by `bounded`

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._head_due: float | None = None
        self._body_due: float | None = None
        self._unsent = 0
        self._sent_due = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or refuse it where there are too many."""
        super().connection_made(transport)
        deadlines = self.deadlines
        if len(deadlines.connections) >= deadlines.max_connections:
            self._refuse(_CROWDED)
            return
        deadlines.connections.add(self)
        self._head_due = time.monotonic() + deadlines.header_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.deadlines.connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        if self.transport.is_closing():
            return
        # Bytes between two requests, even line ends that begin no head, stop uvicorn's timer.
        if self._head_due is None and self._body_due is None and self._is_idle():
            self._begin_head()
        super().data_received(data)
        if self._head_due is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(_LARGE_HEAD)

    def on_message_begin(self) -> None:
        """Note that a head begins; it may follow another request at once."""
        super().on_message_begin()
        if self._head_due is None:
            self._begin_head()

    def on_headers_complete(self) -> None:
        """Note that the head is there."""
        self._head_due = None
        self._head_bytes = 0
        self._body_due = time.monotonic() + self.deadlines.body_seconds
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body is there."""
        self._body_due = None
        super().on_message_complete()

    def is_late(self, now: float) -> bool:
        """Whether the client should have sent more by `now`, on the monotonic clock."""
        due = self._head_due if self._head_due is not None else self._body_due
        if due is None or now < due:
            return False
        if self.flow.read_paused:  # then it is this side that does not read
            if self._head_due is not None:
                self._head_due = now + self.deadlines.header_seconds
            else:
                self._body_due = now + self.deadlines.body_seconds
            return False
        return True

    def is_stuck(self, now: float) -> bool:
        """Whether the client has taken nothing of an answer for as long as a body may take."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent or self._unsent == 0:
            self._sent_due = now + self.deadlines.body_seconds
        self._unsent = unsent
        return now >= self._sent_due

    def close_late(self) -> None:
        """Close the connection of a late client, which is told why where nothing was begun."""
        if self._head_due is not None and self._is_idle() and self._head_bytes > 0:
            self._refuse(_SLOW_HEAD)
        elif not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the words are our own
        """Refuse what is no HTTP, in the form of every other error."""
        self._refuse(_MALFORMED)

    def _begin_head(self) -> None:
        self._head_bytes = 0
        self._head_due = time.monotonic() + self.deadlines.header_seconds

    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _refuse(self, refusal: Refusal) -> None:
        """Answer outside of the application, and close."""
        if self._is_idle():  # an answer must not stand in the middle of another
            headers = self.server_state.default_headers
            self.transport.write(refusal_bytes(refusal, headers, CLOSE))
        self.transport.close()


def bounded(deadlines: Deadlines, early: EarlyRefusals | None = None) -> type[BoundedProtocol]:
    """A protocol class for uvicorn with these bounds and early refusals."""
    return type("BoundedHTTP", (BoundedProtocol,), {"deadlines": deadlines, "early": early})
