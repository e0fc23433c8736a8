"""Batching: many requests through one thread, in order; and the threads that compute."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qkv.serving.batching import Batcher, Worker
from qkv.serving.engine import Engine
from qkv.serving.errors import NotServingError, QueueFullError
from qkv.serving.models import Models
from qkv.serving.settings import ServingSettings
from qkv.serving.worker_process import COMPUTING_NICENESS


class Doubler:
    """Doubles numbers, remembers its batches, and waits at a gate that is open at first."""

    def __init__(self, poison: Sequence[int] = ()) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._poison = set(poison)

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert self.gate.wait(10)
        if self._poison & set(items):
            raise ArithmeticError(f"poisoned by {self._poison & set(items)}")
        return [2 * item for item in items]


def batcher_of(function: Callable[[list[int]], Any], **changes: Any) -> Batcher[int, int]:
    settings: dict[str, Any] = {"cost": lambda _: 1, "budget": 8, "queue_size": 100}
    return Batcher(function, **{**settings, **changes})


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test

    asyncio.run(bounded())


async def closed(doubler: Doubler, batcher: Batcher[int, int]) -> asyncio.Task[int]:
    """Has the thread hold a first item, 0, until the gate opens."""
    doubler.gate.clear()
    first = asyncio.create_task(batcher.submit(0))
    while not doubler.entered.is_set():
        await asyncio.sleep(0.001)
    return first


async def until_waiting(batcher: Batcher[int, int], count: int) -> None:
    while batcher.waiting != count:
        await asyncio.sleep(0.001)


def test_thousands_of_answers_go_to_whoever_asked() -> None:
    async def test() -> None:
        doubler = Doubler()
        batcher = batcher_of(doubler, queue_size=5000, budget=64)
        batcher.start()
        order = np.random.default_rng(0).permutation(3000).tolist()
        answers = await asyncio.gather(*(batcher.submit(number) for number in order))
        assert answers == [2 * number for number in order]
        assert max(map(len, doubler.batches)) == 64
        assert len(doubler.batches) < 1000
        assert doubler.threads == {next(iter(doubler.threads))}
        assert threading.get_ident() not in doubler.threads
        await batcher.drain()

    run(test())


def test_what_waits_while_a_batch_is_computed_is_the_next_batch() -> None:
    async def test() -> None:
        doubler = Doubler()
        batcher = batcher_of(doubler)
        batcher.start()
        first = await closed(doubler, batcher)
        rest = [asyncio.create_task(batcher.submit(number)) for number in range(1, 12)]
        await until_waiting(batcher, 11)
        doubler.gate.set()
        assert await asyncio.gather(first, *rest) == [2 * number for number in range(12)]
        assert doubler.batches == [[0], [1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11]]
        await batcher.drain()

    run(test())


@given(costs=st.lists(st.integers(1, 12), min_size=1, max_size=20), budget=st.integers(1, 10))
def test_no_batch_is_dearer_than_the_budget_but_for_one_item(costs: list[int], budget: int) -> None:
    async def test() -> None:
        doubler = Doubler()
        batcher = batcher_of(doubler, cost=lambda item: ([1, *costs])[item], budget=budget)
        batcher.start()
        first = await closed(doubler, batcher)
        rest = [asyncio.create_task(batcher.submit(n)) for n in range(1, len(costs) + 1)]
        await until_waiting(batcher, len(costs))
        doubler.gate.set()
        await asyncio.gather(first, *rest)
        await batcher.drain()
        computed = [number for batch in doubler.batches for number in batch]
        assert computed == list(range(len(costs) + 1))
        for batch, following in zip(doubler.batches[1:], [*doubler.batches[2:], None], strict=True):
            spent = [costs[number - 1] for number in batch]
            assert sum(spent) <= budget or len(batch) == 1
            # And no batch leaves out what would still have fitted.
            assert following is None or sum(spent) + costs[following[0] - 1] > budget

    run(test())


def test_a_poisoned_item_fails_alone() -> None:
    async def test() -> None:
        doubler = Doubler(poison=[3])
        batcher = batcher_of(doubler)
        batcher.start()
        first = await closed(doubler, batcher)
        rest = [asyncio.create_task(batcher.submit(number)) for number in range(1, 6)]
        await until_waiting(batcher, 5)
        doubler.gate.set()
        answers = await asyncio.gather(first, *rest, return_exceptions=True)
        assert [a for a in answers if isinstance(a, int)] == [0, 2, 4, 8, 10]
        assert isinstance(answers[3], ArithmeticError)
        assert doubler.batches == [[0], [1, 2, 3, 4, 5], [1], [2], [3], [4], [5]]
        assert await batcher.submit(7) == 14  # the thread lives on
        await batcher.drain()

    run(test())


def test_an_exception_in_the_place_of_an_answer_is_raised_for_its_item() -> None:
    def halve(items: list[int]) -> list[int | Exception]:
        return [item // 2 if item % 2 == 0 else ValueError(str(item)) for item in items]

    async def test() -> None:
        batcher = batcher_of(halve)
        batcher.start()
        answers = await batcher.submit_all([2, 3, 4])
        assert answers[0] == 1
        assert isinstance(answers[1], ValueError)
        assert answers[2] == 2
        with pytest.raises(ValueError, match="5"):
            await batcher.submit(5)
        await batcher.drain()

    run(test())


def test_a_full_queue_refuses_at_once_and_what_is_cancelled_frees_its_place() -> None:
    async def test() -> None:
        doubler = Doubler()
        batcher = batcher_of(doubler, queue_size=3)
        batcher.start()
        first = await closed(doubler, batcher)
        waiting = [asyncio.create_task(batcher.submit(number)) for number in (1, 2, 3)]
        await until_waiting(batcher, 3)
        assert batcher.is_full
        with pytest.raises(QueueFullError) as refused:
            await batcher.submit(4)
        assert refused.value.status == 429
        assert int(refused.value.headers["Retry-After"]) >= 1
        waiting[1].cancel()
        await until_waiting(batcher, 2)
        assert not batcher.is_full
        with pytest.raises(QueueFullError):
            await batcher.submit_all([5, 6])  # of several, none enters unless all do
        assert batcher.waiting == 2
        late = asyncio.create_task(batcher.submit(7))
        await until_waiting(batcher, 3)
        doubler.gate.set()
        assert await asyncio.gather(first, waiting[0], waiting[2], late) == [0, 2, 6, 14]
        assert waiting[1].cancelled()
        assert doubler.batches == [[0], [1, 3, 7]]  # nobody computed what nobody waited for
        await batcher.drain()

    run(test())


def test_several_cancelled_together_free_all_their_places() -> None:
    async def test() -> None:
        doubler = Doubler()
        batcher = batcher_of(doubler, queue_size=4)
        batcher.start()
        first = await closed(doubler, batcher)
        several = asyncio.create_task(batcher.submit_all([1, 2, 3]))
        await until_waiting(batcher, 3)
        several.cancel()
        await until_waiting(batcher, 0)
        doubler.gate.set()
        assert await first == 0
        assert await batcher.submit(5) == 10
        assert doubler.batches == [[0], [5]]
        await batcher.drain()

    run(test())


def test_cancelled_while_it_is_computed_it_disturbs_no_other() -> None:
    async def test() -> None:
        doubler = Doubler()
        batcher = batcher_of(doubler)
        batcher.start()
        first = await closed(doubler, batcher)
        first.cancel()
        second = asyncio.create_task(batcher.submit(1))
        await until_waiting(batcher, 1)
        doubler.gate.set()
        assert await second == 2
        with pytest.raises(asyncio.CancelledError):
            await first
        await batcher.drain()

    run(test())


def test_draining_answers_what_waits_and_refuses_what_comes() -> None:
    async def test() -> None:
        doubler = Doubler()
        batcher = batcher_of(doubler, budget=2)
        with pytest.raises(NotServingError):
            await batcher.submit(9)  # not started
        batcher.start()
        first = await closed(doubler, batcher)
        rest = [asyncio.create_task(batcher.submit(number)) for number in range(1, 6)]
        await until_waiting(batcher, 5)
        draining = asyncio.create_task(batcher.drain())
        await asyncio.sleep(0.01)
        assert not draining.done()
        with pytest.raises(NotServingError) as refused:
            await batcher.submit(6)
        assert refused.value.status == 503
        doubler.gate.set()
        assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 8, 10]
        await draining
        await batcher.drain()  # a second time does nothing

    run(test())


def test_a_drain_that_is_cut_short_leaves_nobody_waiting() -> None:
    async def test() -> None:
        doubler = Doubler()
        batcher = batcher_of(doubler)
        batcher.start()
        first = await closed(doubler, batcher)
        second = asyncio.create_task(batcher.submit(1))
        await until_waiting(batcher, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await batcher.drain()
        with pytest.raises(NotServingError):
            await second
        doubler.gate.set()
        assert await first == 0

    run(test())


def test_queues_on_one_thread_take_turns() -> None:
    async def test() -> None:
        order: list[str] = []
        gate, entered = threading.Event(), threading.Event()

        def named(name: str) -> Callable[[list[int]], list[int]]:
            def compute(items: list[int]) -> list[int]:
                entered.set()
                assert gate.wait(10)
                order.append(name)
                return items

            return compute

        worker = Worker("test")
        one = batcher_of(named("one"), worker=worker, budget=1)
        other = batcher_of(named("other"), worker=worker, budget=1)
        worker.start()
        first = asyncio.create_task(one.submit(0))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        many = [asyncio.create_task(one.submit(number)) for number in range(3)]
        few = [asyncio.create_task(other.submit(number)) for number in range(2)]
        await until_waiting(one, 3)
        await until_waiting(other, 2)
        gate.set()
        await asyncio.gather(first, *many, *few)
        assert order == ["one", "other", "one", "other", "one", "one"]
        await worker.drain()

    run(test())


def test_batches_are_observed() -> None:
    async def test() -> None:
        seen: list[tuple[int, int, float]] = []
        batcher = batcher_of(
            Doubler(), cost=lambda item: item, budget=100, observe=lambda *facts: seen.append(facts)
        )
        batcher.start()
        await batcher.submit_all([3, 4, 5])
        await batcher.drain()
        ((count, cost, seconds),) = seen
        assert (count, cost) == (3, 12)
        assert 0 <= seconds < 10

    run(test())


Seen = tuple[str, int, int]


def of_this_thread() -> Seen:
    """Its name, its threads within an operation, and its niceness."""
    niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if os.name != "nt" else 0
    return threading.current_thread().name, torch.get_num_threads(), niceness


def computed_by(models: Models, monkeypatch: pytest.MonkeyPatch, count: int) -> list[Seen]:
    """What computes each of `count` inputs that come one after another."""
    model = next(iter(models.values()))
    seen: list[Seen] = []

    def compute(items: list[object]) -> list[Exception]:
        seen.append(of_this_thread())
        return [ValueError("not computed") for _ in items]

    monkeypatch.setattr(model.predictor, "compute", compute)
    monkeypatch.setattr(model.predictor, "warm_up", lambda: None)
    engine = Engine(models, ServingSettings(workers=2, threads=1))

    async def run() -> None:
        await engine.start()
        for _ in range(count):
            await engine.predict(model, [object()])
        await engine.drain()

    asyncio.run(run())
    return seen


def test_what_computes_has_its_threads_and_yields_to_the_event_loop(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = of_this_thread()
    seen = computed_by(models, monkeypatch, 4)
    assert len(seen) == 4
    for name, threads, niceness in seen:
        assert name.startswith("predictions")
        assert threads == 1
        assert niceness == (COMPUTING_NICENESS if sys.platform == "linux" else before[2])
    assert of_this_thread() == before
