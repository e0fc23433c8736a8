"""Requests for a full queue, refused on the wire before the application hears of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from qkv.serving.guard.connections import Deadlines, bounded
from qkv.serving.guard.early import ENOUGH_REFUSALS, REST_SECONDS, EarlyRefusals, Rest
from qkv.serving.guard.full import is_full_at

FULL = b"/v1/models/full/predict"
FREE = b"/v1/models/free/predict"


class Server:
    """An application that answers with the length of a body, behind early refusals."""

    def __init__(self) -> None:
        self.refused = 0
        self.reached: list[str] = []
        self.port = 0

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append(scope["path"])
        count, more = 0, True
        while more:
            message = await receive()
            count += len(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"%d" % count
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def count(self) -> None:
        self.refused += 1


def with_server(check: Callable[[Server], Awaitable[Any]], *, body_seconds: float = 5.0) -> Any:
    """What `check` says of a server on a free port."""

    async def run() -> Any:
        server = Server()
        deadlines = Deadlines(header_seconds=5.0, body_seconds=body_seconds, max_connections=10)
        early = EarlyRefusals(
            is_full=lambda target: is_full_at(lambda *asked: asked == ("full", "predict"), target),
            on_refused=server.count,
        )
        config = uvicorn.Config(
            server.app,
            http=bounded(deadlines, early),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
        )
        config.load()
        state = ServerState()
        listening = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=state, app_state={}
            ),
            "127.0.0.1",
        )
        server.port = listening.sockets[0].getsockname()[1]
        watching = asyncio.create_task(deadlines.watch())
        try:
            async with asyncio.timeout(20):
                result = await check(server)
                while state.connections or deadlines.connections:
                    for connection in list(state.connections):
                        connection.transport.abort()
                    await asyncio.sleep(0.01)
            return result
        finally:
            watching.cancel()
            listening.close()

    return asyncio.run(run())


def post(target: bytes, body: bytes = b"", *headers: bytes, version: bytes = b"1.1") -> bytes:
    lines = [b"POST " + target + b" HTTP/" + version, b"Host: localhost"]
    lines += [b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


@asynccontextmanager
async def connected(
    server: Server,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is closed in the end, whatever a test found."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body


def test_a_refusal_is_whole_and_the_connection_goes_on() -> None:
    async def check(server: Server) -> None:
        async with connected(server) as (reader, writer):
            for number in range(1, 4):
                writer.write(post(FULL + b"?top_k=3", b"x" * 1000))
                status, headers, body = await answer(reader)
                assert status == 429
                assert int(headers["retry-after"]) > 0
                assert headers["cache-control"] == "no-store"
                assert "default-src 'none'" in headers["content-security-policy"]
                assert sorted(json.loads(body)) == ["error", "remedy"]
                assert server.refused == number
                writer.write(post(FREE, b"abc"))
                assert (await answer(reader))[::2] == (200, b"3")
            assert server.reached == [FREE.decode()] * 3

    with_server(check)


def test_the_body_of_a_refused_request_is_not_waited_for_and_not_taken_for_the_next() -> None:
    async def check(server: Server) -> None:
        async with connected(server) as (reader, writer):
            whole = post(FULL, post(FREE, b"smuggled"))
            head = whole.index(b"\r\n\r\n") + 4
            writer.write(whole[:head])
            assert (await answer(reader))[0] == 429
            for place in range(head, len(whole), 7):
                writer.write(whole[place : place + 7])
                await writer.drain()
            writer.write(post(FREE, b"next one"))
            assert (await answer(reader))[::2] == (200, b"8")
            assert server.reached == [FREE.decode()]

    with_server(check)


def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    async def check(server: Server) -> None:
        async with connected(server) as (reader, writer):
            writer.write(
                post(FULL, b"a") + post(FREE, b"bb") + post(FULL, b"c") + post(FREE, b"dddd")
            )
            found = [(await answer(reader))[::2] for _ in range(4)]
            # The third stands behind one that is being answered, so it takes the long way.
            assert [status for status, _ in found] == [429, 200, 200, 200]
            assert [body for _, body in found[1:]] == [b"2", b"1", b"4"]

    with_server(check)


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(FULL, b"ab", b"Connection: close"),
        post(FULL, b"ab", version=b"1.0"),
        post(FULL, b"ab", b"Expect: 100-continue"),
        post(b"/v1/models/full/../x", b"ab"),
        post(b"/elsewhere", b"ab"),
        post(FULL, b"ab").replace(b"POST", b"PUT"),
    ],
)
def test_whatever_is_not_plain_goes_to_the_application(request_bytes: bytes) -> None:
    async def check(server: Server) -> None:
        async with connected(server) as (reader, writer):
            writer.write(request_bytes)
            received = await reader.readuntil(b"\r\n\r\n2")
            assert b"200 OK" in received
            assert server.refused == 0

    # A server that is full in another way is none of its business.
    with_server(check)


def test_a_refused_body_that_never_ends_does_not_keep_the_connection() -> None:
    async def check(server: Server) -> None:
        async with connected(server) as (reader, writer):
            writer.write(post(FULL, b"x" * 100)[:-50])
            assert (await answer(reader))[0] == 429
            assert await reader.read() == b""

    with_server(check, body_seconds=0.3)


@pytest.mark.parametrize(
    ("turns", "rests"),
    [([1], 1), ([3, 1], 2), ([ENOUGH_REFUSALS - 1], 1), ([ENOUGH_REFUSALS], 0), ([20, 1, 8], 1)],
)
def test_the_loop_rests_after_turns_of_few_refusals(
    turns: list[int], rests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested: list[float] = []
    monkeypatch.setattr("qkv.serving.guard.early.time.sleep", rested.append)

    async def run() -> None:
        rest = Rest()
        for refusals in turns:
            for _ in range(refusals):
                rest.count(asyncio.get_running_loop())
            await asyncio.sleep(0)

    asyncio.run(run())
    assert rested == [REST_SECONDS] * rests
