"""The threads that compute."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest
import torch

from qkv.serving.engine import Engine
from qkv.serving.models import Models
from qkv.serving.settings import ServingSettings
from qkv.serving.worker_process import COMPUTING_NICENESS

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
