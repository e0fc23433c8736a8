"""The threads that compute: some for predictions, one for looks inside a model."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import torch

from qkv.errors import QKVError, ServerStartError
from qkv.serving.batching import Batcher, Observer, Worker
from qkv.serving.errors import NotServingError
from qkv.serving.models import Models, ServedModel
from qkv.serving.predictors import Scores
from qkv.serving.settings import ServingSettings
from qkv.serving.worker_process import lower_priority

Answer = TypeVar("Answer")
State = Literal["starting", "ready", "draining"]

# Of another library's message, which can be pages long.
REASON_CHARACTERS = 200

# More would fight for the interpreter.
MAX_WORKERS = 4

# While one thread computes, the other waits this long at most before it gets the interpreter. Of
# the default, 5 ms, a model would lose up to that after each of its hundreds of operations.
SWITCH_SECONDS = 0.0001


class Engine:
    """Computes for the routes, on threads of its own.

    Predictions of all models share their threads, in turn, so that they do not fight for the
    processor; explanations and attention have another, so that a long one delays no prediction.
    `observe` gives what is told of each batch of a model: inputs, images or tokens, seconds.
    """

    def __init__(
        self,
        models: Models,
        settings: ServingSettings,
        *,
        observe: Callable[[str, str], Observer] | None = None,
    ) -> None:
        self.state: State = "starting"
        self._models = models
        workers, self._threads = _threads(models, settings)
        self._workers = Worker("predictions", prepare=self._prepare, threads=workers)
        self._inspection = Worker("inspection", prepare=lower_priority)
        budgets = {"images": settings.batch_images, "tokens": settings.batch_tokens}
        self.batchers: dict[str, Batcher[Any, Scores]] = {
            model.id: Batcher(
                model.predictor.compute,
                cost=model.predictor.cost,
                budget=budgets[model.predictor.unit],
                queue_size=settings.queue_size,
                worker=self._workers,
                observe=observe(model.id, model.predictor.unit) if observe else None,
            )
            for model in models.values()
        }
        self.inspection: Batcher[Callable[[], Any], Any] = Batcher(
            lambda calls: [call() for call in calls],
            cost=lambda _: 1,
            budget=1,
            queue_size=settings.explain_queue_size,
            worker=self._inspection,
        )
        self._processes = workers if settings.processes else 0
        self._switch_seconds = sys.getswitchinterval()

    async def start(self) -> None:
        """Start the threads and warm up every model; then the state is `ready`.

        Raises:
            ServerStartError: a model fails at its first computation, or in its process.
        """
        self.state = "starting"
        self._switch_seconds = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._workers.start()
        self._inspection.start()
        for model in self._models.values():
            await self._warm_up(model)
        self.state = "ready"

    async def drain(self) -> None:
        """Refuse what is new, answer what waits, end the threads. Cancelled, refuse what waits."""
        self.state = "draining"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._workers.drain())
                group.create_task(self._inspection.drain())
        finally:
            sys.setswitchinterval(self._switch_seconds)
            for model in self._models.values():
                model.predictor.close()

    def is_full(self, model_id: str, work: str) -> bool:
        """Whether a request for `work` (predict, explain or attention) finds its queue full."""
        if work == "predict":
            batcher = self.batchers.get(model_id)
            return batcher is not None and batcher.is_full
        return work in {"explain", "attention"} and self.inspection.is_full

    async def predict(self, model: ServedModel, inputs: Sequence[Any]) -> list[Scores | Exception]:
        """The scores of inputs that `model.predictor.read` gave; an error where one failed.

        Raises:
            QueueFullError: there is no room for all of them.
            NotServingError: the server is stopping.
        """
        return await self.batchers[model.id].submit_all(inputs)

    async def look(self, function: Callable[[], Answer]) -> Answer:
        """What a function gives on the inspection thread.

        Raises:
            QueueFullError: too many wait.
            NotServingError: the server is stopping.
        """
        if self.state == "draining":
            raise NotServingError
        answer: Answer = await self.inspection.submit(function)
        return answer

    async def explain(
        self, model: ServedModel, content: bytes | str, *, method: str | None, label: str | None
    ) -> dict[str, Any]:
        """The document of an explanation of an encoded image or a text.

        Raises:
            QKVError: the input, the method or the label is unfit; the queue is full.
        """
        from qkv.explanation.explain import explain

        def work() -> dict[str, Any]:
            document = explain(model.classifier, content, method=method, label=label).document()
            if isinstance(content, bytes):
                document["input"] = "image"
            return document

        return await self.look(work)

    async def _warm_up(self, model: ServedModel) -> None:
        # A boundary: whatever a model raises at its first computation, nobody can be served by it.
        try:
            if self._processes:
                start = model.predictor.start_processes
                await asyncio.to_thread(start, model.run.path, self._processes, self._threads)
            # On a thread of its own kind: the first computation of each thread sets things up.
            await self.look(model.predictor.warm_up)
        except QKVError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:REASON_CHARACTERS]
            raise ServerStartError(
                f"the first computation of {model.run.path} failed with {type(error).__name__}"
                f"{': ' if reason else ''}{reason}",
                remedy="see whether qkv predict works for it; for want of memory, serve fewer runs "
                "or name another --device",
            ) from error

    def _prepare(self) -> None:
        # OpenMP keeps the number of threads for each thread that asks it for some.
        torch.set_num_threads(self._threads)
        lower_priority()


def _threads(models: Models, settings: ServingSettings) -> tuple[int, int]:
    """How many predictions are computed side by side, and the threads of one.

    On a CPU two computations of one thread each outrun one of two, which wait for each other after
    every operation; a GPU takes one at a time.
    """
    cores = torch.get_num_threads()
    on_cpu = all(model.classifier.device.type == "cpu" for model in models.values())
    workers = settings.workers or (min(cores, MAX_WORKERS) if on_cpu else 1)
    return workers, settings.threads or max(1, cores // workers)
