"""Only requests that name this server: a page on a rebound name must not reach it.

In DNS rebinding a page's own name is made to stand for this machine's address, so that a browser
counts the server as part of that page. Its requests still carry the page's name as their Host.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from qkv.serving.guard.refusal import Refusal

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_MISSING = Refusal(
    400,
    "the request has no Host, or more than one",
    remedy="send one Host header with this server's name",
)
_FOREIGN = Refusal(
    421,
    "this server does not go by the name in the Host header",
    remedy="use its own address, or start it with --allow-host and that name",
)


class HostCheck:
    """ASGI middleware that refuses a request for another host: 421, or 400 where none is named.

    Allowed are the names of loopback, the given ones, and the very address that the request came
    in at, which no name can be rebound to. Ports do not matter.

    Args:
        app: what answers.
        allowed: names and addresses in lower case, without brackets and ports.
    """

    def __init__(self, app: ASGIApp, *, allowed: Iterable[str] = ()) -> None:
        self._app = app
        self._allowed = LOOPBACK_NAMES | frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        answer = self._app
        if scope["type"] == "http":
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            if len(hosts) != 1 or not hosts[0]:
                answer = _MISSING
            else:
                host = bare_host(hosts[0])
                if host not in self._allowed and not _is_own_address(host, scope):
                    answer = _FOREIGN
        await answer(scope, receive, send)


@functools.lru_cache(maxsize=256)
def bare_host(value: bytes) -> str:
    """The host of a Host header or an origin's authority, in one form.

    Returns:
        A name in lower case, or an address as `ipaddress` writes it; without port, brackets and
        the dot that may end a name. Empty where `value` is not a host with or without a port.
    """
    text = value.decode("latin-1").lower()
    if text.startswith("["):
        address, closed, rest = text[1:].partition("]")
        if not closed or not _is_port(rest):
            return ""
        try:
            return str(ipaddress.IPv6Address(address))
        except ValueError:
            return ""
    host, colon, port = text.partition(":")
    if not _is_port(colon + port):
        return ""
    return host.removesuffix(".")


def _is_port(text: str) -> bool:
    """Whether `text` is what may follow a host: nothing, or a colon and digits."""
    return text in {"", ":"} or (text[0] == ":" and text[1:].isascii() and text[1:].isdigit())


def _is_own_address(host: str, scope: Scope) -> bool:
    server = scope.get("server")
    if server is None:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name, which is just what can be rebound
        return False
    return str(address) == str(server[0])
