"""No page of another site may make a visitor's browser ask this server for work."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from qkv.serving.guard.hosts import bare_host
from qkv.serving.guard.refusal import Refusal

READING = frozenset({"GET", "HEAD", "OPTIONS"})

# Browsers set this header themselves; `none` is a request that the person made, not a page.
_OWN_SITES = frozenset({b"same-origin", b"none"})
_FOREIGN = Refusal(
    403,
    "a page of another origin sent this request",
    remedy="send it from the page of this server, or from a program without an Origin header",
)


class OriginCheck:
    """ASGI middleware that refuses a request across origins with 403, unless it only reads.

    What is read stays unread by the other page: no answer allows another origin. A request with
    neither Origin nor Sec-Fetch-Site comes from a program, not from a page, and passes.

    Args:
        app: what answers.
        allowed: hosts whose pages count as this server's own besides the request's Host, for a
            proxy that changes the Host. Names as `bare_host` writes them.
    """

    def __init__(self, app: ASGIApp, *, allowed: Iterable[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        answer = self._app
        if scope["type"] == "http" and scope["method"] not in READING and self._is_foreign(scope):
            answer = _FOREIGN
        await answer(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        host = b""
        origins = []
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origins.append(value)
            elif name == b"sec-fetch-site" and value.strip().lower() not in _OWN_SITES:
                return True
        return any(not self._is_own(origin, host) for origin in origins)

    def _is_own(self, origin: bytes, host: bytes) -> bool:
        scheme, separator, authority = origin.partition(b"://")
        if not separator or scheme.lower() not in {b"http", b"https"}:
            return False  # `null` among them: a page that hides where it is from
        return authority.lower() == host.lower() or bare_host(authority) in self._allowed
