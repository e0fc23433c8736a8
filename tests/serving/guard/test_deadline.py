"""One timer for many tasks, against a timer for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from qkv.serving.guard.deadline import Deadline


async def take(deadline: Deadline, start: float, seconds: float) -> str:
    await asyncio.sleep(start)
    try:
        with deadline.step():
            await asyncio.sleep(seconds)
    except TimeoutError:
        return "late"
    await asyncio.sleep(0.15)  # longer than a step may take: the time ended with the step
    return "in time"


async def take_all(deadline: Deadline, steps: Sequence[tuple[float, float]]) -> list[str]:
    return await asyncio.gather(*(take(deadline, *step) for step in steps))


def test_each_step_has_the_same_time_from_its_own_start() -> None:
    steps = [(0.0, 5.0), (0.0, 0.0), (0.06, 0.05), (0.08, 5.0), (0.3, 0.01), (0.3, 5.0)]
    assert asyncio.run(take_all(Deadline(0.1), steps)) == [
        "late",
        "in time",
        "in time",
        "late",
        "in time",
        "late",
    ]


def test_a_step_may_end_by_its_own_error() -> None:
    async def run() -> None:
        deadline = Deadline(0.05)
        with pytest.raises(ZeroDivisionError), deadline.step():
            raise ZeroDivisionError
        await asyncio.sleep(0.1)

    asyncio.run(run())


def test_a_task_that_is_cancelled_for_another_reason_stays_cancelled() -> None:
    async def run() -> bool:
        deadline = Deadline(5.0)
        task = asyncio.create_task(take(deadline, 0.0, 5.0))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(run())


def test_a_task_cancelled_for_both_reasons_stays_cancelled() -> None:
    async def run() -> bool:
        deadline = Deadline(0.05)
        task = asyncio.create_task(take(deadline, 0.0, 5.0))
        await asyncio.sleep(0.01)
        while not task.cancelling():  # the time is over
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(run())


def test_a_second_loop_has_its_own_timer() -> None:
    deadline = Deadline(0.05)
    for _ in range(2):
        assert asyncio.run(take_all(deadline, [(0.0, 5.0)])) == ["late"]

    async def leave_early() -> None:
        with deadline.step():
            await asyncio.sleep(0)

    asyncio.run(leave_early())  # its timer is set, and goes with the loop
    assert asyncio.run(take_all(deadline, [(0.0, 5.0)])) == ["late"]
