"""The protections around the application, as ASGI middleware.

From the outside in: headers on every answer, a count of it, no new requests while draining, who may
ask (`qkv.serving.access`), room in the queue, the body. What costs least and refuses most comes
first, and nothing of a body is read for a request that is refused for another reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qkv.serving.access import Keys, check_host, check_key, check_origin
from qkv.serving.connections import request_on
from qkv.serving.errors import CLOSE, SECURITY_HEADERS, Refusal
from qkv.serving.metrics import Metrics, MetricsCount
from qkv.serving.settings import ServingSettings

# So many of the largest bodies may be in memory at once.
HELD_BODIES = 32
# A client that is still sending when it is refused gets this long to see that before the
# connection ends; a reset could otherwise overtake the answer.
LINGER_SECONDS = 2.0
WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
# They stay open while the rest is being answered: how it goes is asked just then.
ALWAYS_OPEN = frozenset({"/healthz", "/metrics"})
# What a model says of somebody's input is for nobody else; the page's files say it themselves.
NO_STORE = (b"cache-control", b"no-store")
_MODELS = "/v1/models/"

Check = Callable[[Scope], Refusal | None]
IsFull = Callable[[str, str], bool]
"""Whether the queue of a model's id and a kind of work (the last part of the path: `predict`,
`explain`, `attention`) has no place; False for what it does not know."""

_FAILED = Refusal(
    500,
    "the server failed on this request",
    remedy="try again; if it fails again, report it with the server's log",
)
_DRAINING = Refusal(
    503,
    "the server is stopping and takes no new requests",
    remedy="ask another one, or this one when it has started again",
    headers=(CLOSE, (b"retry-after", b"5")),
)
_FULL = Refusal(
    429,
    "too many requests are waiting for this model",
    remedy="try again after 1 s",
    headers=((b"retry-after", b"1"),),
)
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
_logger = logging.getLogger(__name__)


class ActiveRequests:
    """Requests that are being answered, without probes; `draining`: new ones are refused."""

    def __init__(self) -> None:
        self.count = 0
        self.draining = False
        self._none = asyncio.Event()
        self._none.set()

    def began(self) -> None:
        """One more request is being answered."""
        self.count += 1
        self._none.clear()

    def ended(self) -> None:
        """One of them has its answer, or its client went away."""
        self.count -= 1
        if self.count == 0:
            self._none.set()

    async def wait_for_none(self) -> None:
        """Wait until none is being answered."""
        await self._none.wait()


def protect(
    app: ASGIApp,
    settings: ServingSettings,
    *,
    active: ActiveRequests,
    keys: Keys | None = None,
    metrics: Metrics | None = None,
    is_full: IsFull | None = None,
) -> ASGIApp:
    """An application behind all protections.

    Without `keys` none are asked for; without `is_full` every body is read.
    """
    own = () if settings.is_wildcard else (settings.host,)
    checks: list[Check] = [
        partial(check_host, allowed=frozenset((*own, *settings.allowed_hosts))),
        partial(check_origin, allowed=frozenset(settings.allowed_hosts)),
    ]
    if keys is not None:
        checks.append(partial(check_key, keys=keys))
    if is_full is not None:
        checks.append(partial(check_queue, is_full=is_full))
    protected: ASGIApp = BodyLimit(
        app,
        max_bytes=settings.max_body_bytes,
        max_held_bytes=HELD_BODIES * settings.max_body_bytes,
        timeout_seconds=settings.body_timeout_seconds,
    )
    protected = Admission(protected, active=active, checks=checks)
    if metrics is not None:
        protected = MetricsCount(protected, metrics=metrics)
    protected = SecurityHeaders(protected, closing=lambda: active.draining)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await (protected if scope["type"] == "http" else app)(scope, receive, send)

    return answer


def check_queue(scope: Scope, is_full: IsFull) -> Refusal | None:
    """Refuse work with 429 while the queue for it is full: its body is not even read."""
    path: str = scope["path"]
    if scope["method"] != "POST" or not path.startswith(_MODELS):
        return None
    model, _, work = path[len(_MODELS) :].partition("/")
    return _FULL if is_full(model, work) else None


class Admission:
    """ASGI middleware that counts requests and refuses what fails a check, or all if draining."""

    def __init__(self, app: ASGIApp, *, active: ActiveRequests, checks: Sequence[Check]) -> None:
        self._app = app
        self._active = active
        self._checks = tuple(checks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        with request_on(scope):
            is_probe = scope["path"] in ALWAYS_OPEN
            if self._active.draining and not is_probe:
                await _refuse_sender(_DRAINING, receive, send)
                return
            app: ASGIApp = next(filter(None, (check(scope) for check in self._checks)), self._app)
            if is_probe:
                await app(scope, receive, send)
                return
            self._active.began()
            try:
                await app(scope, receive, send)
            finally:
                self._active.ended()


class SecurityHeaders:
    """ASGI middleware that adds `SECURITY_HEADERS` and keeps errors in one form.

    An answer that says nothing of caches gets `no-store`. An exception of the application becomes
    a 500 in the form of every other error, and is logged; the server goes on. While `closing()`,
    connections end with their answer.
    """

    def __init__(self, app: ASGIApp, *, closing: Callable[[], bool] = lambda: False) -> None:
        self._app = app
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the headers added."""
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


class _RefusedError(Exception):
    """Reading stopped because of `refusal`; `ended`: whether the body had come to its end."""

    def __init__(self, refusal: Refusal, *, ended: bool) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.ended = ended


class BodyLimit:
    """ASGI middleware that bounds bodies in bytes and time; what answers gets a body whole.

    A body that is too large gets 413, one not whole after `timeout_seconds` 408; both end the
    connection. The bodies of all requests together are bounded by `max_held_bytes`: 429.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, max_held_bytes: int, timeout_seconds: float
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_held = max(max_held_bytes, max_bytes)
        self._timeout_seconds = timeout_seconds
        self.held = 0
        self._large = Refusal(
            413,
            f"the body of the request is larger than {max_bytes:,} bytes",
            remedy="send a smaller one, or fewer inputs at a time",
            headers=(CLOSE,),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the whole body at hand, or refuse."""
        if scope["method"] in WITHOUT_BODY:
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
        body = bytearray()  # one buffer: chunks of a byte each would take many times their size
        try:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    is_whole = await self._read(body, receive)
            except TimeoutError:
                await _LATE(scope, receive, send)
                return
            except _RefusedError as error:
                self.held -= len(body)
                body = bytearray()
                if error.ended:
                    await error.refusal(scope, receive, send)
                else:
                    await _refuse_sender(error.refusal, receive, send)
                return
            if is_whole:  # else the client has gone
                await self._app(scope, _replay(bytes(body), receive), send)
        finally:
            self.held -= len(body)

    async def _read(self, body: bytearray, receive: Receive) -> bool:
        """Read to the end of a body; False if the client went away before that.

        Raises:
            _RefusedError: it is larger than one body, or all together, may be.
        """
        ended = False
        while not ended:
            message = await receive()
            if message["type"] != "http.request":
                return False
            chunk: bytes = message.get("body", b"")
            ended = not message.get("more_body", False)
            if len(body) + len(chunk) > self._max_bytes:
                raise _RefusedError(self._large, ended=ended)
            if self.held + len(chunk) > self._max_held:
                raise _RefusedError(_CROWDED, ended=ended)
            self.held += len(chunk)
            body += chunk
        return True


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
