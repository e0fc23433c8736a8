"""Work for a client ends when the client goes away."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive

from qkv.serving.errors import ClientGoneError

# Most answers are there sooner; a task that listens for each of them would cost more than they do.
PATIENCE_SECONDS = 0.05


class WhilePresent:
    """A context that is cancelled when the client of a request goes away.

    Args:
        receive: of a request whose body has been read.

    Raises:
        ClientGoneError: the client went away before the context ended.
    """

    __slots__ = ("_gone", "_listening", "_receive", "_task", "_timer")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._listening: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = task.get_loop().call_later(PATIENCE_SECONDS, self._begin)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
        if self._gone and kind is asyncio.CancelledError and self._task.uncancel() == 0:
            raise ClientGoneError

    def _begin(self) -> None:
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
