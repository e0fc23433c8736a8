"""Headers that every answer carries, so that a browser does nothing beyond what the page needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qkv.serving.guard.refusal import CLOSE, Header, Refusal

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# What a model says of somebody's input is for nobody else; the page's files say it themselves.
NO_STORE = (b"cache-control", b"no-store")

_logger = logging.getLogger(__name__)


class SecurityHeaders:
    """ASGI middleware that adds `SECURITY_HEADERS` and keeps errors in one form.

    An answer that says nothing of caches gets `no-store`. An exception of the application becomes
    a 500 in the form of every other error, and is logged; the server goes on.

    Args:
        app: what answers.
        closing: whether connections should end with their answer.
    """

    def __init__(self, app: ASGIApp, *, closing: Callable[[], bool] = lambda: False) -> None:
        self._app = app
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the headers added."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = [*message.get("headers", ()), *SECURITY_HEADERS]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(NO_STORE)
                if self._closing() and CLOSE not in headers:
                    headers.append(CLOSE)
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            # A boundary: whatever went wrong with one request must not end the server, and its
            # client needs an answer.
            _logger.exception("error while answering %s %s", scope["method"], scope["path"])
            if started:
                raise  # only cutting the connection can still tell the client
            await _FAILED(scope, receive, send_with_headers)


def refusal_bytes(refusal: Refusal, default_headers: Sequence[Header], *more: Header) -> bytes:
    """A whole HTTP/1.1 answer that refuses, for where there is no application to send it.

    Args:
        refusal: what it says.
        default_headers: those of the server, which change with time.
        more: beside them, the refusal's own and `SECURITY_HEADERS`.
    """
    status, rest = _fixed_parts(refusal, more)
    return b"".join([status, *map(_line, default_headers), rest])


@lru_cache(maxsize=32)
def _fixed_parts(refusal: Refusal, more: tuple[Header, ...]) -> tuple[bytes, bytes]:
    status = f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n".encode()
    headers = (*refusal.start["headers"], *SECURITY_HEADERS, *more)
    return status, b"".join([*map(_line, headers), b"\r\n", refusal.body["body"]])


def _line(header: Header) -> bytes:
    return header[0] + b": " + header[1] + b"\r\n"


_FAILED = Refusal(
    500,
    "the server failed on this request",
    remedy="try again; if it fails again, report it with the server's log",
)
