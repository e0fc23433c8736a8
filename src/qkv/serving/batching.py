"""Requests of many clients computed together: a bounded queue before a few threads.

There is no artificial wait. While one batch is computed the next gathers, so that batches grow with
the load, and a lone request is computed at once. The event loop and a thread meet once a batch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from qkv.serving.errors import NotServingError, QueueFullError

Item = TypeVar("Item")
Result = TypeVar("Result")
Observer = Callable[[int, int, float], None]


class Worker:
    """Threads that compute the batches of one or more queues, in turn; a batch is one thread's.

    `prepare` is called on each thread before its first batch; `lock` is held while a queue changes.
    """

    def __init__(
        self, name: str, *, prepare: Callable[[], None] | None = None, threads: int = 1
    ) -> None:
        self._name = name
        self._prepare = prepare
        self._threads = threads
        self._queues: list[Batcher[Any, Any]] = []
        self._turn = 0
        self._idle = 0
        self._running = 0
        self._ending = False
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._ended = asyncio.Event()
        self.lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop
        self.accepts = False

    def add(self, queue: Batcher[Any, Any]) -> None:
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

    async def drain(self) -> None:
        """Refuse what is new, answer what waits, end the threads. Cancelled, refuse what waits."""
        if not hasattr(self, "loop"):
            return
        self.accepts = False
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

    def _next(self) -> tuple[Batcher[Any, Any], list[Any]] | None:
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


@dataclass(eq=False, slots=True)
class _Place(Generic[Item, Result]):
    """An item with its cost and the future of its answer."""

    item: Item
    cost: int
    future: asyncio.Future[Result]


class Batcher(Generic[Item, Result]):
    """A bounded queue whose items are computed together, first come first served.

    Everything but `take` and `compute`, which the worker calls, belongs to the event loop.

    Args:
        compute: answers of several items, in order; an exception in an item's place is raised for
            it alone. If it raises, each item is computed once more by itself.
        cost: what an item counts of the budget, at least 1.
        budget: cost of one batch at most; an item that costs more is computed alone.
        queue_size: items that may wait, those in computation not counted.
        worker: what computes; a thread of its own if None.
        observe: told of each batch on the event loop: items, cost, seconds.
    """

    def __init__(
        self,
        compute: Callable[[list[Item]], Sequence[Result | Exception]],
        *,
        cost: Callable[[Item], int],
        budget: int,
        queue_size: int,
        worker: Worker | None = None,
        observe: Observer | None = None,
    ) -> None:
        self._function = compute
        self._cost = cost
        self._budget = budget
        self.queue_size = queue_size
        self._observe = observe
        self._waiting: deque[_Place[Item, Result]] = deque()
        self._worker = worker or Worker("batcher")
        self._worker.add(self)

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether one more item would be refused."""
        return len(self._waiting) >= self.queue_size

    def start(self) -> None:
        """Start the thread; on the event loop that will submit."""
        self._worker.start()

    async def drain(self) -> None:
        """Refuse what is new, answer what waits, and end the thread."""
        await self._worker.drain()

    async def submit(self, item: Item) -> Result:
        """The answer of one item. Cancelled, it gives its place back.

        Raises:
            QueueFullError: `queue_size` items wait already.
            NotServingError: the thread has not started, or is to end.
        """
        (answer,) = await self.submit_all((item,))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def submit_all(self, items: Sequence[Item]) -> list[Result | Exception]:
        """The answers of several items, an exception in the place of one that failed.

        Raises:
            QueueFullError: there is no room for all of them.
            NotServingError: the thread has not started, or is to end.
        """
        places = self._enter(items)
        answers: list[Result | Exception] = []
        try:
            for place in places:
                try:
                    answers.append(await place.future)
                except Exception as error:  # the item's own, which its place shall hold
                    answers.append(error)
        except asyncio.CancelledError:
            self._leave(places)
            raise
        return answers

    def _enter(self, items: Sequence[Item]) -> list[_Place[Item, Result]]:
        worker = self._worker
        if not worker.accepts:
            raise NotServingError
        if len(self._waiting) + len(items) > self.queue_size:
            raise QueueFullError
        create_future = worker.loop.create_future
        places = [_Place[Item, Result](item, self._cost(item), create_future()) for item in items]
        with worker.lock:
            self._waiting.extend(places)
            worker.ring()
        return places

    def _leave(self, places: Sequence[_Place[Item, Result]]) -> None:
        with self._worker.lock:
            for place in places:
                place.future.cancel()
                with suppress(ValueError):  # it is being computed
                    self._waiting.remove(place)

    def take(self, threads: int) -> list[_Place[Item, Result]]:
        """The next batch, empty if nothing waits; the caller holds the worker's lock.

        The idle threads, the caller's among them, share what waits.
        """
        batch: list[_Place[Item, Result]] = []
        left = self._budget
        waiting = self._waiting
        share = -(-len(waiting) // threads)
        while waiting and len(batch) < share and (not batch or waiting[0].cost <= left):
            place = waiting.popleft()
            left -= place.cost
            batch.append(place)
        return batch

    def compute(self, batch: list[_Place[Item, Result]]) -> Callable[[], None]:
        """Compute a batch, on the worker's thread; what is returned delivers it on the loop."""
        start = time.perf_counter()
        answers = self._answers([place.item for place in batch])
        seconds = time.perf_counter() - start

        def deliver() -> None:
            for place, answer in zip(batch, answers, strict=True):
                if place.future.done():  # its client has gone
                    continue
                if isinstance(answer, Exception):
                    place.future.set_exception(answer)
                else:
                    place.future.set_result(answer)
            if self._observe is not None:
                self._observe(len(batch), sum(place.cost for place in batch), seconds)

        return deliver

    def _answers(self, items: list[Item]) -> Sequence[Result | Exception]:
        # A boundary: whatever an item does must not end the thread that answers all others.
        try:
            return self._function(items)
        except Exception as error:
            if len(items) == 1:
                return [error]
        answers: list[Result | Exception] = []
        for item in items:
            try:
                answers += self._function([item])
            except Exception as error:
                answers.append(error)
        return answers

    def abandon(self) -> None:
        """Refuse all that waits."""
        with self._worker.lock:
            places = list(self._waiting)
            self._waiting.clear()
        for place in places:
            if not place.future.done():
                place.future.set_exception(NotServingError())
