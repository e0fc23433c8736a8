"""Requests of many clients computed together: a bounded queue before a few threads.

There is no artificial wait. While one batch is computed the next gathers, so that batches grow with
the load, and a lone request is computed at once. The event loop and a thread meet once a batch, not
once a request. The threads are `qkv.serving.worker`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from qkv.serving.errors import NotServingError, QueueFullError
from qkv.serving.worker import Worker

Item = TypeVar("Item")
Result = TypeVar("Result")
Observer = Callable[[int, int, float], None]


class _Place(Generic[Item, Result]):
    """An item with its cost and the future of its answer."""

    __slots__ = ("cost", "future", "item")

    def __init__(self, item: Item, cost: int, future: asyncio.Future[Result]) -> None:
        self.item = item
        self.cost = cost
        self.future = future


class Batcher(Generic[Item, Result]):
    """A bounded queue whose items are computed together, first come first served.

    Everything but `take` and `compute`, which the worker calls, belongs to the event loop.

    Args:
        compute: answers of several items, in their order; an exception in an item's place is raised
            for that item alone. If it raises, each item is computed once more by itself, so that
            one bad item fails alone.
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

    def require_room(self) -> None:
        """See that one more item would find a place.

        Raises:
            QueueFullError: it would not.
        """
        if len(self._waiting) >= self.queue_size:
            raise QueueFullError

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
        (place,) = self._enter((item,))
        try:
            return await place.future
        except asyncio.CancelledError:
            self._leave([place])
            raise

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

        Args:
            threads: that have nothing to do, the caller's among them; they share what waits.
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
