"""The server process: bind, load, answer, and stop without losing a request."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket

import uvicorn
from fastapi import FastAPI

from qkv.serving.guard.body import LINGER_SECONDS
from qkv.serving.guard.connections import Deadlines, bounded
from qkv.serving.guard.early import EarlyRefusals
from qkv.serving.guard.full import is_full_at
from qkv.serving.guard.keys import read_keys
from qkv.serving.guard.traffic import Traffic
from qkv.serving.listen import (
    address_of,
    bind,
    bound_port,
    room_for_connections,
    start_listening,
    take_no_more,
)
from qkv.serving.settings import ServingSettings
from qkv.serving.stopping import end_process, stop_signals

# A server that has answered all listens a moment longer: whoever has just connected is told that
# it stops, and is not cut off.
SETTLE_SECONDS = 0.2
# What the last steps may take when everything is answered: closing connections, ending threads.
CLOSING_SECONDS = 5.0
Say = Callable[[str], None]


def serve(paths: Sequence[Path], settings: ServingSettings, *, say: Say) -> int:
    """Serve runs until a signal asks to stop.

    On SIGTERM or Ctrl-C new requests are refused with 503, those begun are answered, and the
    server ends. A second signal ends the process at once.

    Args:
        paths: run folders.
        settings: where, and within which limits.
        say: tells one line to the person who started it: when it is ready, when it stops.

    Returns:
        The exit code, 0. Where requests were still without an answer after
        `settings.drain_seconds`, the process ends with 1 instead.

    Raises:
        QKVError: the binding is not safe, the port is taken, the keys or a run are unfit, or a
            model fails at its first computation.
    """
    settings.require_safe_binding()
    if settings.api_key_file is not None:
        read_keys(settings.api_key_file)  # a mistake in it should not wait for the models
    sockets = bind(settings.host, settings.port)
    try:
        app = _application(paths, settings)
        return serve_app(app, sockets, settings, say=say, early=_early_refusals(app))
    finally:
        for opened in sockets:
            opened.close()


def serve_app(
    app: FastAPI,
    sockets: list[socket],
    settings: ServingSettings,
    *,
    say: Say,
    early: EarlyRefusals | None = None,
) -> int:
    """Serve an application with `app.state.traffic` and `models` on bound sockets; see `serve`.

    Args:
        app: what answers.
        sockets: bound, and closed by the caller.
        settings: the limits.
        say: as in `serve`.
        early: what need not reach the application.

    Raises:
        QKVError: the application cannot start.
    """
    # Not left to the loop: not every one says so if it fails.
    start_listening(settings.host, sockets, settings.backlog)
    deadlines = Deadlines(
        header_seconds=settings.header_timeout_seconds,
        # The application refuses slow bodies itself; this ends those that nobody reads any more.
        body_seconds=settings.body_timeout_seconds + LINGER_SECONDS + 1.0,
        max_connections=room_for_connections(settings.max_connections),
    )
    config = uvicorn.Config(
        app,
        http=bounded(deadlines, early),
        ws="none",
        # `_Life` keeps it, so that what fails at the start reaches the caller as it was raised.
        lifespan="off",
        interface="asgi3",
        workers=1,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        # Nothing here depends on a client's address, so no proxy is believed about it.
        proxy_headers=False,
        backlog=settings.backlog,
        timeout_keep_alive=settings.keep_alive_seconds,
    )
    address = address_of(settings.host, bound_port(sockets))
    names = ", ".join(app.state.models)
    life = _Life(app, server=_Server(config), sockets=sockets, settings=settings)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        unanswered = runner.run(
            life.live(
                deadlines,
                on_ready=lambda: say(
                    f"qkv: serving http://{address} (models: {names}); stop with Ctrl-C"
                ),
                on_stop=lambda: say("qkv: stopping; once more to stop at once"),
            )
        )
        if unanswered:
            say(f"qkv: stopped; after {settings.drain_seconds:g} s {unanswered} had no answer")
            # A model may still compute for them, and the interpreter would wait for its thread.
            end_process(1)
    say("qkv: stopped")
    return 0


class _Server(uvicorn.Server):
    """uvicorn's server, with its signals left to `stop_signals` and an event when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()


class _Life:
    """From the start of the application, by its first request, to the last answer."""

    def __init__(
        self,
        app: FastAPI,
        *,
        server: _Server,
        sockets: list[socket],
        settings: ServingSettings,
    ) -> None:
        self._app = app
        self._server = server
        self._sockets = sockets
        self._traffic: Traffic = app.state.traffic
        self._drain_seconds = settings.drain_seconds

    async def live(
        self, deadlines: Deadlines, *, on_ready: Callable[[], None], on_stop: Callable[[], None]
    ) -> int:
        """Serve until a signal; return how many requests were left without an answer.

        Raises:
            QKVError: the application cannot start.
        """
        watching = asyncio.create_task(deadlines.watch())
        serving = asyncio.create_task(self._serve())
        with stop_signals() as asked:
            listening = asyncio.create_task(self._server.listening.wait())
            await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                # The models stay until the end: looking for garbage among them only takes time.
                gc.collect()
                gc.freeze()
                on_ready()
            stopping = asyncio.create_task(asked.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                on_stop()
            unanswered = await self._end(serving)
        for task in (watching, listening, stopping):
            task.cancel()
        return unanswered

    async def _serve(self) -> None:
        async with self._app.router.lifespan_context(self._app):
            await self._server.serve(self._sockets)

    async def _end(self, serving: asyncio.Task[None]) -> int:
        """Answer what was begun, then close."""
        began = asyncio.get_running_loop().time()
        self._traffic.draining = True
        if not serving.done():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began + self._drain_seconds):
                    await self._traffic.quiet()
                    take_no_more(self._sockets)
                    await asyncio.sleep(SETTLE_SECONDS)
        unanswered = self._traffic.active
        # uvicorn cancels what is left after this many seconds.
        self._server.config.timeout_graceful_shutdown = math.ceil(CLOSING_SECONDS) - 1
        self._server.should_exit = True
        # Not cancelled when the time is over: it would wait for a model that computes.
        await asyncio.wait({serving}, timeout=CLOSING_SECONDS if not unanswered else 1.0)
        if not serving.done():
            return max(1, unanswered)
        await serving
        return unanswered


def _application(paths: Sequence[Path], settings: ServingSettings) -> FastAPI:
    """The application of some runs."""
    from qkv.serving.app import create_app
    from qkv.serving.models import open_models

    return create_app(open_models(paths, device=settings.device), settings)


def _early_refusals(app: FastAPI) -> EarlyRefusals:
    """What need not reach the application."""
    engine, traffic, metrics = app.state.engine, app.state.traffic, app.state.metrics

    def is_full(target: bytes) -> bool:
        # While it drains, it is the application that says so.
        return not traffic.draining and is_full_at(engine.is_full, target)

    return EarlyRefusals(is_full=is_full, on_refused=metrics.refused_early)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster loop where there is one; None: asyncio's own."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    return uvloop.new_event_loop
