"""One time limit for many tasks."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """Bounds how long each of many tasks may take for a step, by a single timer.

    `asyncio.timeout` sets a timer for every task and takes it away again, which costs more than
    all else that is done for the body of most requests.

    Args:
        seconds: that a step may take.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # All have the same time, so that the order of entry is the order in which they are due.
        self._steps: dict[Step, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def step(self) -> Step:
        """A context that raises TimeoutError if it is not left in time."""
        return Step(self)

    def enter(self, step: Step) -> None:
        """Start the time of a step."""
        loop = asyncio.get_running_loop()
        self._steps[step] = loop.time() + self.seconds
        if self._loop is not loop:  # no timer runs, or that of a loop that has ended
            self._loop = loop
            loop.call_later(self.seconds, self._expire, loop)

    def leave(self, step: Step) -> None:
        """End the time of a step."""
        self._steps.pop(step, None)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self._steps:
            step, due = next(iter(self._steps.items()))
            if due > now:
                loop.call_at(due, self._expire, loop)
                return
            del self._steps[step]
            step.expire()
        self._loop = None


class Step:
    """What one task does within the time of a `Deadline`."""

    __slots__ = ("_deadline", "_expired", "_task")

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._deadline.enter(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadline.leave(self)
        if self._expired and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Interrupt the task: its time is over."""
        self._expired = True
        self._task.cancel()
