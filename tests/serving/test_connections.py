"""Connections over a real socket: slow, endless, malformed, and too many."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from qkv.serving.connections import MAX_HEAD_BYTES, Connections, request_on

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
Check = Callable[[int], Awaitable[Any]]


async def small_app(scope: Scope, receive: Receive, send: Send) -> None:
    with request_on(scope):
        await answer(scope, receive, send)


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers `/` at once, `/read` with the length of the body, `/long` with 20 MB."""
    body = b"hello"
    if scope["path"] == "/read":
        count, more = 0, True
        while more:
            message = await receive()
            count += len(message.get("body", b""))
            more = message.get("more_body", False)
        body = str(count).encode()
    elif scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    elif scope["path"] == "/long":
        body = b"x" * 20_000_000
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def with_server(
    check: Check,
    *,
    header_seconds: float = 5.0,
    send_seconds: float = 5.0,
    max_connections: int = 10,
) -> Any:
    """What `check` says of a server on a free port, which must hold no connection in the end."""

    async def run() -> Any:
        connections = Connections(
            header_seconds=header_seconds,
            send_seconds=send_seconds,
            max_connections=max_connections,
        )
        config = uvicorn.Config(
            small_app,
            http=connections,  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            log_config=None,
        )
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=state, app_state={}
            ),
            "127.0.0.1",
        )
        watching = asyncio.create_task(connections.watch())
        try:
            async with asyncio.timeout(20):
                result = await check(server.sockets[0].getsockname()[1])
                while state.connections or connections.open:
                    for connection in list(state.connections):
                        connection.transport.abort()
                    await asyncio.sleep(0.01)
            return result
        finally:
            watching.cancel()
            server.close()

    return asyncio.run(run())


async def talk(port: int, *parts: bytes, pause: float = 0.0) -> tuple[bytes, float]:
    """Send the parts; return all that came until the server closed, and the seconds until then."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        received = await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()
    return received, time.monotonic() - began


def refusal(received: bytes) -> tuple[int, str]:
    """Status and error of an answer, which must be whole, in form, and the last."""
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["content-length"] == str(len(body))
    assert headers["connection"] == "close"
    assert "default-src 'none'" in headers["content-security-policy"]
    document = json.loads(body)
    assert sorted(document) == ["error", "remedy"]
    return int(status.split()[1]), document["error"]


def test_a_connection_that_says_nothing_is_closed() -> None:
    received, seconds = with_server(lambda port: talk(port), header_seconds=0.2)
    assert received == b""
    assert 0.15 < seconds < 3


def test_a_head_that_comes_slowly_is_refused_however_often_a_byte_comes() -> None:
    drops = [bytes([byte]) for byte in HEAD] * 20
    received, seconds = with_server(lambda port: talk(port, *drops, pause=0.02), header_seconds=0.3)
    # Bytes still on their way may reset the connection before the answer is read.
    if received:
        status, error = refusal(received)
        assert status == 408
        assert "time" in error
    assert 0.25 < seconds < 3


def test_a_head_that_stops_is_told_why() -> None:
    received, seconds = with_server(lambda port: talk(port, HEAD), header_seconds=0.2)
    assert refusal(received)[0] == 408
    assert 0.15 < seconds < 3


def test_the_second_head_of_a_connection_has_the_same_time() -> None:
    received, seconds = with_server(
        lambda port: talk(port, HEAD + b"\r\n", HEAD, pause=0.1), header_seconds=0.3
    )
    first, _, second = received.partition(b"hello")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert refusal(second)[0] == 408
    assert 0.35 < seconds < 3


def test_line_ends_alone_keep_no_connection_open() -> None:
    received, seconds = with_server(
        lambda port: talk(port, HEAD + b"\r\n", *[b"\r\n"] * 100, pause=0.02), header_seconds=0.3
    )
    assert received.count(b"HTTP/1.1") <= 2
    assert seconds < 3


def test_a_quiet_connection_between_two_requests_is_no_late_head() -> None:
    async def check(port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = 0
        for _ in range(2):
            writer.write(HEAD + b"\r\n")
            answers += (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.4)
        writer.close()
        return answers

    assert with_server(check, header_seconds=0.2) == 2


def test_a_long_answer_to_one_request_is_no_late_head_of_the_next() -> None:
    """Two requests sent at once: the second waits for the first, which is not its fault."""
    slow = HEAD.replace(b"/ ", b"/slow ") + b"\r\n"

    async def check(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(slow + HEAD + b"\r\n")
        first = await reader.readuntil(b"hello")
        second = await reader.readuntil(b"hello")
        writer.close()
        return first + second

    received = with_server(check, header_seconds=0.2)
    assert received.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("lines", [[b"A: " + b"b" * 1_000_000], [b"A: b"] * 200_000])
def test_a_head_has_a_largest_size(lines: list[bytes]) -> None:
    pieces = [HEAD, *(b"\r\n".join(lines[i : i + 5000]) for i in range(0, len(lines), 5000))]
    received, _ = with_server(lambda port: talk(port, *pieces))
    if received:
        assert refusal(received)[0] == 431


def test_a_large_head_that_stops_is_told_why() -> None:
    filler = b"A: " + b"b" * MAX_HEAD_BYTES
    received, _ = with_server(lambda port: talk(port, HEAD + filler))
    assert refusal(received)[0] == 431


def test_a_body_does_not_count_as_head() -> None:
    size = 4 * MAX_HEAD_BYTES
    head = b"POST /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    received, _ = with_server(lambda port: talk(port, head % size, b"x" * size))
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.endswith(str(size).encode())


def test_a_body_that_nobody_reads_and_that_never_ends_is_cut_off() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    received, seconds = with_server(
        lambda port: talk(port, head, *[b"x"] * 100, pause=0.02), header_seconds=0.3
    )
    assert received.count(b"HTTP/1.1") <= 1  # a reset may overtake even that
    assert 0.25 < seconds < 3


@pytest.mark.parametrize(
    "request_", [b"\x16\x03\x01\x02\x00\x01", b"HELO localhost\r\n\r\n", b"GET / HTTP/9\r\n\r\n"]
)
def test_what_is_no_http_is_refused(request_: bytes) -> None:
    received, _ = with_server(lambda port: talk(port, request_))
    assert received.startswith(b"HTTP/1.1 400 ")


def test_two_lengths_and_smuggled_chunks_are_no_http() -> None:
    post = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
    for line in (b"Content-Length: 6", b"Transfer-Encoding: chunked"):
        received, _ = with_server(lambda port, line=line: talk(port, post + line + b"\r\n\r\n"))
        assert received.startswith(b"HTTP/1.1 400 "), line


def test_one_connection_too_many_is_refused_and_others_go_on() -> None:
    async def check(port: int) -> tuple[bytes, bytes, bytes]:
        kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for _, writer in kept:
            writer.write(HEAD)
        await asyncio.sleep(0.1)
        refused, _ = await talk(port)
        reader, writer = kept[0]
        writer.write(b"Connection: close\r\n\r\n")
        served = await reader.read()
        await asyncio.sleep(0.1)  # one place is free again
        after, _ = await talk(port, HEAD + b"Connection: close\r\n\r\n")
        for _, writer in kept:
            writer.close()
        return refused, served, after

    refused, served, after = with_server(check, max_connections=3)
    assert refusal(refused) == (429, "too many connections are open")
    assert b"retry-after: 1\r\n" in refused
    assert served.endswith(b"hello")
    assert after.endswith(b"hello")


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off() -> None:
    async def check(port: int) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        began = time.monotonic()
        writer.write(HEAD.replace(b"/ ", b"/long ") + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.sleep(1.5)
            await reader.readexactly(20_000_000)
        writer.close()
        return time.monotonic() - began

    assert with_server(check, send_seconds=0.4) < 5


def test_a_client_that_takes_its_time_gets_all_of_it() -> None:
    async def check(port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(HEAD.replace(b"/ ", b"/long ") + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        count = 0
        while count < 20_000_000:
            count += len(await reader.read(1_000_000))
            if count % 50 == 0:
                await asyncio.sleep(0.05)
        writer.close()
        return count

    assert with_server(check, send_seconds=0.4) == 20_000_000
