"""An answer that refuses: one line on what is wrong, one on what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence

from starlette.types import Message, Receive, Scope, Send

Header = tuple[bytes, bytes]
CLOSE = (b"connection", b"close")


class Refusal:
    """An ASGI application that answers every request with the same error.

    Args:
        status: HTTP status of the answer.
        error: what is wrong, one line.
        remedy: what to do about it, one line.
        headers: more of them, names in lower case.
    """

    def __init__(
        self, status: int, error: str, *, remedy: str, headers: Sequence[Header] = ()
    ) -> None:
        self.status = status
        body = json.dumps({"error": error, "remedy": remedy}).encode()
        self.start: Message = {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
        self.body: Message = {"type": "http.response.body", "body": body, "more_body": False}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Refuse."""
        await send(self.start)
        await send(self.body)
