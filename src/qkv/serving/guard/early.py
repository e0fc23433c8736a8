"""The cheapest refusal: a request for a full queue is answered before the application hears of it.

Under ten times the load that a server bears, nine requests of ten are refused. On the long way
through uvicorn and the protections these alone would take a fifth of a processor from the answers
of the tenth. So the head of a request is enough here; its Host and its key are not looked at, since
the answer says nothing but that the server is busy.

Waking up for each of them costs more than the refusal itself, for a thread that computes gives way
each time. So the event loop rests for some milliseconds after it has refused a few, and what comes
meanwhile is refused together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from qkv.serving.guard.full import FULL
from qkv.serving.guard.headers import NO_STORE, refusal_bytes

REST_SECONDS = 0.005
# So many at once are worth a turn of the event loop.
ENOUGH_REFUSALS = 8


class Rest:
    """Holds up an event loop for a moment after a turn of few refusals."""

    def __init__(self) -> None:
        self._refusals = 0

    def count(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count a refusal; the loop may rest when it has done what it has begun."""
        if not self._refusals:
            loop.call_soon(self._rest)
        self._refusals += 1

    def _rest(self) -> None:
        if self._refusals < ENOUGH_REFUSALS:
            time.sleep(REST_SECONDS)
        self._refusals = 0


@dataclass(frozen=True)
class EarlyRefusals:
    """What is refused early.

    Attributes:
        is_full: whether the queue for a POST to this target (path and query, as sent) is full.
        on_refused: told of each refusal.
        rest: of the event loop after refusals.
    """

    is_full: Callable[[bytes], bool]
    on_refused: Callable[[], None]
    rest: Rest = field(default_factory=Rest)


class EarlyProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 on httptools, which makes the refusals of `early` itself."""

    early: EarlyRefusals | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refused = False

    def on_headers_complete(self) -> None:
        """Refuse the request, or go on."""
        early = self.early
        if early is None or not self._is_plain() or not early.is_full(self.url):
            super().on_headers_complete()
            return
        self._refused = True
        self.transport.write(refusal_bytes(FULL, self.server_state.default_headers, NO_STORE))
        early.on_refused()
        early.rest.count(self.loop)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; nobody reads that of a request that was refused."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Be ready for the next request."""
        if self._refused:
            self._refused = False
            self.on_response_complete()
        else:
            super().on_message_complete()

    def _is_plain(self) -> bool:
        """Whether a whole answer may stand here, and the connection stays open after it."""
        cycle: RequestResponseCycle | None = self.cycle
        return (
            self.parser.get_method() == b"POST"
            and (cycle is None or cycle.response_complete)
            and not self.expect_100_continue
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
        )
