"""Connections of a load generator: as many as there are requests under way."""

from __future__ import annotations

import asyncio
from collections import deque

from benchmarks.serving.wire import BROKEN, Answer, Connection

MOST_CONNECTIONS = 900
"""Open at once unless told otherwise, few enough for the usual limit of open files. Beyond that a
request waits here, and its latency grows as if it had been sent."""


class Pool:
    """Sends each request on a connection that is free, or on a new one.

    Args:
        port: of the server, on this machine.
        on_answer: told of each request's end, with the connection whose `tag` names the request.
        most: connections that are open at once.
    """

    def __init__(self, port: int, on_answer: Answer, most: int = MOST_CONNECTIONS) -> None:
        self._port = port
        self._most = most
        self._on_answer = on_answer
        # The last one used is used next, so that there are no more than needed.
        self._free: list[Connection] = []
        self._all: set[Connection] = set()
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._opening: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many are open or being opened."""
        return len(self._all) + len(self._opening)

    def send(self, request: bytes, tag: int) -> None:
        """Send now, or as soon as there is a connection."""
        while self._free:
            connection = self._free.pop()
            if connection.usable:
                connection.send(request, tag)
                return
            self._all.discard(connection)
        self._waiting.append((request, tag))
        if self.connections < self._most:
            self._open_one()

    def close(self) -> None:
        """Close everything; nobody is told of requests under way."""
        self._waiting.clear()
        for task in self._opening:
            task.cancel()
        for connection in self._all:
            connection.close()

    def _open_one(self) -> None:
        task = asyncio.get_running_loop().create_task(self._open())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self._answered), "127.0.0.1", self._port
            )
        except OSError:
            if self._waiting:
                _, tag = self._waiting.popleft()
                refused = Connection(self._answered)
                refused.tag = tag
                self._on_answer(refused, BROKEN, b"")
            return
        self._all.add(connection)
        self._next(connection)

    def _answered(self, connection: Connection, status: int, body: bytes) -> None:
        self._on_answer(connection, status, body)
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        if not connection.usable:
            self._all.discard(connection)
            if self._waiting and not self._free:
                self._open_one()
        elif self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._free.append(connection)
