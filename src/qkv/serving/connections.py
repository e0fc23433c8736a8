"""Connections: bounded in number, in the size of a head, and in the time to send one.

uvicorn bounds none of these. A `Connection` stands between the socket and uvicorn's protocol and
counts bytes and seconds; the application tells it that a request has come (see `request_on`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from qkv.serving.errors import Refusal

# uvicorn reads some of a body ahead of the application, but stops well below this.
MAX_HEAD_BYTES = 2**19
_STATE = "qkv.connection"

_LARGE_HEAD = Refusal(
    431, "the head of the request is too large", remedy="send fewer or shorter headers"
)
_SLOW_HEAD = Refusal(408, "the head of the request did not come in time", remedy="send it at once")
_CROWDED = Refusal(
    429,
    "too many connections are open",
    remedy="try again a little later",
    headers=((b"retry-after", b"1"),),
)


class Connections:
    """The open connections of a server and their bounds; called, it makes one for uvicorn.

    Args:
        header_seconds: from a connection's opening, or a head's first byte, to the head's end.
        send_seconds: that a client may take nothing of its answer.
        max_connections: open at once.
        max_body_bytes: of a request; one that is refused unread may still send its body.
    """

    def __init__(
        self,
        *,
        header_seconds: float,
        send_seconds: float,
        max_connections: int,
        max_body_bytes: int = 0,
    ) -> None:
        self.header_seconds = header_seconds
        self.send_seconds = send_seconds
        self.max_connections = max_connections
        self.max_unseen_bytes = max_body_bytes + MAX_HEAD_BYTES
        self.open: set[Connection] = set()

    def __call__(self, **given: Any) -> Connection:
        """What uvicorn has for its protocol class."""
        return Connection(self, **given)

    async def watch(self) -> None:
        """Close late connections for as long as this runs."""
        pause = min(0.5, self.header_seconds / 4, self.send_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            now = time.monotonic()
            for connection in list(self.open):
                connection.close_if_late(now)


class Connection(asyncio.Protocol):
    """One connection: uvicorn's protocol, within the bounds of `connections`."""

    _transport: asyncio.Transport

    def __init__(
        self, connections: Connections, *, app_state: dict[str, Any], **given: Any
    ) -> None:
        self._connections = connections
        self._http: Any = AutoHTTPProtocol(app_state={**app_state, _STATE: self}, **given)  # type: ignore[call-arg]
        self._head_bytes = 0
        self._due: float | None = None
        self._unsent = 0
        self._sent_due = 0.0
        self.active = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or refuse it where there are too many."""
        self._transport = transport
        self._http.connection_made(transport)
        if len(self._connections.open) >= self._connections.max_connections:
            self._refuse(_CROWDED)
            return
        self._connections.open.add(self)
        self._due = time.monotonic() + self._connections.header_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.open.discard(self)
        self._http.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        if self._transport.is_closing():
            return
        if not self.active:
            if self._due is None:
                self._due = time.monotonic() + self._connections.header_seconds
            self._head_bytes += len(data)
            if self._head_bytes > self._connections.max_unseen_bytes:
                self._refuse(_LARGE_HEAD)
                return
        self._http.data_received(data)

    def eof_received(self) -> None:
        """The client sends no more."""
        self._http.eof_received()

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is written."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._http.resume_writing()

    def request_began(self) -> None:
        """The application has a request of this connection."""
        self.active += 1
        self._due = None
        self._head_bytes = 0

    def close_if_late(self, now: float) -> None:
        """Close the connection of a client that should have sent or taken more by `now`."""
        unsent = self._transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent or self._unsent == 0:
            self._sent_due = now + self._connections.send_seconds
        self._unsent = unsent
        if now >= self._sent_due:
            self._transport.abort()
        elif self._due is not None and now >= self._due and not self._transport.is_closing():
            if self._head_bytes:
                self._refuse(_SLOW_HEAD)
            else:
                self._transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer outside of the application, and close."""
        self._transport.write(refusal.closing_bytes())
        self._transport.close()


@contextmanager
def request_on(scope: Scope) -> Iterator[None]:
    """While a request is being answered, its connection owes no further one."""
    connection: Connection | None = scope.get("state", {}).get(_STATE)
    if connection is None:  # not behind `serve_app`
        yield
        return
    connection.request_began()
    try:
        yield
    finally:
        connection.active -= 1
