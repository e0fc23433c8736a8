"""The threads that compute the batches of one or more queues.

What waits belongs to the queues; how many threads there are, which of them sleeps, whose turn it is
and when all of them end is decided here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol


class Queue(Protocol):
    """What a worker asks of a queue; `Batcher` is one."""

    @property
    def waiting(self) -> int:
        """Items that wait."""
        ...

    def take(self, threads: int) -> list[Any]:
        """The next batch, empty if nothing waits; the caller holds the worker's lock.

        Args:
            threads: that have nothing to do, the caller's among them; they share what waits.
        """
        ...

    def compute(self, batch: list[Any]) -> Callable[[], None]:
        """Compute a batch, on a thread; what is returned delivers it on the event loop."""
        ...

    def abandon(self) -> None:
        """Refuse all that waits."""
        ...


class Worker:
    """Threads that compute the batches of one or more queues, in turn; a batch is one thread's.

    Args:
        name: of the threads.
        prepare: called on each thread before its first batch.
        threads: how many.

    Attributes:
        lock: held while a queue changes.
        loop: the event loop that answers are delivered to; once it has started.
        accepts: whether new items may be added to its queues.
    """

    def __init__(
        self, name: str, *, prepare: Callable[[], None] | None = None, threads: int = 1
    ) -> None:
        self._name = name
        self._prepare = prepare
        self._threads = threads
        self._queues: list[Queue] = []
        self._turn = 0
        self._idle = 0
        self._running = 0
        self._ending = False
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._ended = asyncio.Event()
        self.lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop
        self.accepts = False

    def add(self, queue: Queue) -> None:
        """Compute the batches of one more queue; before `start`."""
        self._queues.append(queue)

    def start(self) -> None:
        """Start the threads; answers are delivered to the event loop that runs now."""
        self.loop = asyncio.get_running_loop()
        self._ended.clear()
        self._ending = False
        self.accepts = True
        self._idle, self._running = 0, self._threads
        for _ in range(self._threads):
            # A daemon: a computation that outlasts the time to drain does not hold up the exit.
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def refuse(self) -> None:
        """Take nothing new."""
        self.accepts = False

    async def drain(self) -> None:
        """Refuse what is new, answer what waits, and end the threads.

        Cancelled, it refuses what still waits; a thread ends after its batch.
        """
        if not hasattr(self, "loop"):
            return
        self.refuse()
        self._ending = True
        for _ in range(self._threads):
            self._bell.put(None)
        try:
            await self._ended.wait()
        except asyncio.CancelledError:
            for queue in self._queues:
                queue.abandon()
            raise

    def ring(self) -> None:
        """Wake a thread, if one has nothing to do; the caller holds the lock."""
        if self._idle:
            self._idle -= 1
            self._bell.put(None)

    def _run(self) -> None:
        if self._prepare is not None:
            self._prepare()
        while True:
            found = self._next()
            if found is None:
                if self._ending:
                    break
                self._bell.get()
                continue
            queue, batch = found
            deliver = queue.compute(batch)
            if not self._tell(deliver):
                return
        with self.lock:
            self._running -= 1
            last = not self._running
        if last:
            self._tell(self._ended.set)

    def _tell(self, call: Callable[[], None]) -> bool:
        """Have the event loop call something; False if the loop is closed."""
        try:
            self.loop.call_soon_threadsafe(call)
        except RuntimeError:
            return False
        return True

    def _next(self) -> tuple[Queue, list[Any]] | None:
        """The next queue in turn that has something, and its batch; None: this thread is idle."""
        with self.lock:
            count = len(self._queues)
            for step in range(count):
                queue = self._queues[(self._turn + step) % count]
                if batch := queue.take(self._idle + 1):
                    self._turn = (self._turn + step + 1) % count
                    if any(other.waiting for other in self._queues):
                        self.ring()
                    return queue, batch
            self._idle += 1
            return None
