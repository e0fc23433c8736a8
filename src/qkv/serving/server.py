"""The server process: bind, load, answer, and stop without losing a request."""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from qkv.errors import QKVError
from qkv.serving.access import read_keys
from qkv.serving.app import create_app
from qkv.serving.connections import Connections
from qkv.serving.middleware import ActiveRequests
from qkv.serving.models import open_models
from qkv.serving.settings import ServingSettings

# Files that the process needs besides its connections.
OTHER_FILES = 64
# A server that has answered all and no longer listens lasts a moment longer: whoever has just
# connected is told that it stops, and is not cut off.
SETTLE_SECONDS = 0.2
# What the last steps may take when everything is answered: closing connections, ending threads.
CLOSING_SECONDS = 5.0
Say = Callable[[str], None]


def serve(paths: Sequence[Path], settings: ServingSettings, *, say: Say) -> int:
    """Serve runs until a signal asks to stop.

    On SIGTERM or Ctrl-C new requests are refused with 503, those begun are answered, and the
    server ends. A second signal ends the process at once. `say` tells one line to the person who
    started it: when it is ready, when it stops.

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
        app = create_app(open_models(paths, device=settings.device), settings)
        return serve_app(app, sockets, settings, say=say)
    finally:
        for opened in sockets:
            opened.close()


def serve_app(
    app: FastAPI, sockets: list[socket.socket], settings: ServingSettings, *, say: Say
) -> int:
    """Serve an application, whose state has `active_requests` and `models`, on bound sockets.

    Raises:
        QKVError: the application cannot start.
    """
    # Not left to the loop: not every one says so if it fails.
    start_listening(settings.host, sockets, settings.backlog)
    connections = Connections(
        header_seconds=settings.header_timeout_seconds,
        send_seconds=settings.body_timeout_seconds,
        max_connections=room_for_connections(settings.max_connections),
        max_body_bytes=settings.max_body_bytes,
    )
    config = uvicorn.Config(
        app,
        http=connections,  # type: ignore[arg-type]
        ws="none",
        # `_live` keeps it, so that what fails at the start reaches the caller as it was raised.
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
    ready = f"qkv: serving http://{address} (models: {names}); stop with Ctrl-C"
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        unanswered = runner.run(
            _live(
                app,
                _Server(config),
                sockets,
                connections,
                drain_seconds=settings.drain_seconds,
                say=say,
                ready=ready,
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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()


async def _live(
    app: FastAPI,
    server: _Server,
    sockets: list[socket.socket],
    connections: Connections,
    *,
    drain_seconds: float,
    say: Say,
    ready: str,
) -> int:
    """Serve until a signal; return how many requests were left without an answer."""

    async def serve_all() -> None:
        async with app.router.lifespan_context(app):
            await server.serve(sockets)

    watching = asyncio.create_task(connections.watch())
    serving = asyncio.create_task(serve_all())
    with stop_signals() as asked:
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            # The models stay until the end: looking for garbage among them only takes time.
            gc.collect()
            gc.freeze()
            say(ready)
        stopping = asyncio.create_task(asked.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            say("qkv: stopping; once more to stop at once")
        unanswered = await _end(app.state.active_requests, server, serving, drain_seconds)
    for task in (watching, listening, stopping):
        task.cancel()
    return unanswered


async def _end(
    active: ActiveRequests, server: _Server, serving: asyncio.Task[None], drain_seconds: float
) -> int:
    """Answer what was begun, then close."""
    active.draining = True
    if not serving.done():
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await active.wait_for_none()
                for listener in server.servers:
                    listener.close()
                await asyncio.sleep(SETTLE_SECONDS)
    unanswered = active.count
    # uvicorn cancels what is left after this many seconds.
    server.config.timeout_graceful_shutdown = math.ceil(CLOSING_SECONDS) - 1
    server.should_exit = True
    # Not cancelled when the time is over: it would wait for a model that computes.
    await asyncio.wait({serving}, timeout=CLOSING_SECONDS if not unanswered else 1.0)
    if not serving.done():
        return max(1, unanswered)
    await serving
    return unanswered


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster loop where there is one; None: asyncio's own."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    return uvloop.new_event_loop


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event of the running loop that the first SIGINT or SIGTERM sets.

    A second signal ends the process at once, with 128 and its number. For the main thread only.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    seen = False

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal seen
        if seen:
            end_process(128 + number)
        seen = True
        loop.call_soon_threadsafe(asked.set)

    # Not the loop's own handlers: these also run while a callback keeps the loop busy.
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_process(code: int) -> None:
    """End the process without waiting for threads that compute."""
    sys.stderr.flush()
    os._exit(code)


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address of a host, not yet listening; port 0 takes any free one.

    Raises:
        QKVError: the host has no address here, or the port is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:  # its words differ from system to system
        raise QKVError(
            f"host {host} has no address", remedy="check --host, or give an address"
        ) from None
    bound: list[socket.socket] = []
    refused: OSError | None = None
    with ExitStack() as on_error:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                opened = socket.socket(family, kind, protocol)
            except OSError as error:  # no IPv6 here, say
                refused = error
                continue
            on_error.enter_context(opened)
            try:
                _bind_one(opened, address, port=bound_port(bound) if bound else port)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise _cannot_listen(host, port, error) from None
                refused = error
                opened.close()
            else:
                bound.append(opened)
        if not bound:
            assert refused is not None
            raise _cannot_listen(host, port, refused)
        for opened in bound:
            opened.setblocking(False)
        on_error.pop_all()
    return bound


def bound_port(bound: list[socket.socket]) -> int:
    """The port that the sockets have."""
    return int(bound[0].getsockname()[1])


def start_listening(host: str, bound: list[socket.socket], backlog: int) -> None:
    """Let clients connect; the system holds `backlog` connections until they are accepted.

    Raises:
        QKVError: another program has come to listen on the port since it was bound.
    """
    try:
        for opened in bound:
            opened.listen(backlog)
    except OSError as error:
        raise _cannot_listen(host, bound_port(bound), error) from None


def address_of(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    try:
        is_v6 = ipaddress.ip_address(host).version == 6
    except ValueError:
        is_v6 = False
    return f"[{host}]:{port}" if is_v6 else f"{host}:{port}"


def room_for_connections(wanted: int) -> int:
    """How many connections the process may have, `wanted` at most; raises the limit if it may."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, soft - OTHER_FILES)
    return wanted


def _cannot_listen(host: str, port: int, error: OSError) -> QKVError:
    """The error for an address that cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return QKVError(
            f"port {port} of {host} is taken by another program",
            remedy="give another --port, or --port 0 for any free one",
        )
    if error.errno == errno.EACCES:
        return QKVError(f"port {port} is for the system only", remedy="give a --port above 1023")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return QKVError(f"cannot listen on {address_of(host, port)}: {reason}", remedy="check --host")


def _bind_one(opened: socket.socket, address: object, *, port: int) -> None:
    # Without it the port stays blocked for a minute after a server has ended; on Windows it would
    # mean that two servers may share one port.
    if os.name == "posix":
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    assert isinstance(address, tuple)
    if opened.family == socket.AF_INET6:
        # Every address of the machine is meant with ::, those of IPv4 too.
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
    opened.bind((address[0], port, *address[2:]))
