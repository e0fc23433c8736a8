"""HTTP/1.1 as a load generator needs it: one request at a time on a connection that stays open.

A general client costs more than the servers that are measured here, on the very cores they need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"

# An answer's status and its body; a negative status is a failure of the connection.
Answer = Callable[["Connection", int, bytes], None]
BROKEN = -1


def request_bytes(port: int, path: str, content_type: str, body: bytes) -> bytes:
    """A whole POST request to this machine."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: */*\r\n"
        f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


class Connection(asyncio.Protocol):
    """A connection that carries one request after another.

    Bodies must come with a Content-Length; any other framing counts as broken.

    Args:
        on_answer: told of each request's end.
    """

    def __init__(self, on_answer: Answer) -> None:
        self._on_answer = on_answer
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiting = False
        self.usable = False
        self.tag = -1

    def send(self, request: bytes, tag: int) -> None:
        """Send a request; `tag` is whatever the caller knows it by."""
        assert self._transport is not None
        self.tag = tag
        self._waiting = True
        self._transport.write(request)

    def close(self) -> None:
        """Close without telling anyone."""
        self._waiting = False
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        # uvloop's transports are not subclasses.
        self._transport = cast("asyncio.Transport", transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._received += data
        end = self._received.find(_HEAD_END)
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        length = _content_length(head)
        if length is None or not self._waiting:
            self._fail()
            return
        total = end + len(_HEAD_END) + length
        if len(self._received) < total:
            return
        body = bytes(self._received[end + len(_HEAD_END) : total])
        del self._received[:total]
        self._waiting = False
        if b"connection: close" in head:
            self.close()
        self._on_answer(self, int(head[9:12]), body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        del exc
        self.usable = False
        if self._waiting:
            self._waiting = False
            self._on_answer(self, BROKEN, b"")

    def _fail(self) -> None:
        waited = self._waiting
        self.close()
        if waited:
            self._on_answer(self, BROKEN, b"")


def _content_length(head: bytes) -> int | None:
    start = head.find(_LENGTH)
    if start < 0:
        return None
    value = head[start + len(_LENGTH) :].partition(b"\r\n")[0].strip()
    return int(value) if value.isdigit() else None
