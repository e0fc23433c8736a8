"""Bodies: bounded in bytes and time, and handed on whole."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from fake_asgi import Answer, App, ask, ask_async, passes_other_scopes, received, scope
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qkv.serving.guard import body as body_module
from qkv.serving.guard.body import BodyLimit

LIMIT = 10


def limited(app: ASGIApp, *, held: int = 100, timeout_seconds: float = 5.0) -> BodyLimit:
    return BodyLimit(app, max_bytes=LIMIT, max_held_bytes=held, timeout_seconds=timeout_seconds)


def post(*lengths: str) -> Scope:
    host = [("host", "localhost")]
    return scope("POST", headers=[*host, *(("content-length", length) for length in lengths)])


@given(st.lists(st.binary(max_size=6), max_size=6))
def test_a_body_comes_whole_however_it_was_cut_or_not_at_all(chunks: list[bytes]) -> None:
    app = App()
    guarded = limited(app)
    answer = ask(guarded, post(), received(*chunks))
    whole = b"".join(chunks)
    assert answer.status == (200 if len(whole) <= LIMIT else 413)
    assert app.bodies == ([whole] if len(whole) <= LIMIT else [])
    assert guarded.held == 0


def test_the_application_receives_one_message_and_then_the_end() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        assert first == {"type": "http.request", "body": b"abcd", "more_body": False}
        assert await receive() == {"type": "http.disconnect"}
        await send({"type": "http.response.start", "status": 204, "headers": []})

    messages: list[Message] = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"cd", "more_body": False},
        {"type": "http.disconnect"},
    ]
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    assert ask(limited(app), post(), receive).status == 204


def test_a_declared_length_is_refused_before_anything_is_read() -> None:
    app = App()
    reads = 0

    async def receive() -> Message:
        nonlocal reads
        if reads == 0:
            assert answered_already()
        reads += 1
        return {"type": "http.request", "body": b"x" * 6, "more_body": reads < 3}

    answer = Answer()

    def answered_already() -> bool:
        return len(answer.messages) == 2 and answer.error.startswith("the body")

    async def send(message: Message) -> None:
        answer.messages.append(message)

    asyncio.run(limited(app)(post("11"), receive, send))
    assert answer.status == 413
    assert "10 bytes" in answer.error
    assert answer.headers["connection"] == "close"
    assert reads == 3  # what the client was sending is thrown away, so that it sees the answer
    assert app.asked == 0


def test_the_largest_body_passes() -> None:
    app = App()
    assert ask(limited(app), post("10"), received(b"x" * 10)).status == 200
    assert app.bodies == [b"x" * 10]


@pytest.mark.parametrize("length", ["-1", "1e3", "0x5", "+5", "", " ", "²"])
def test_a_length_that_is_no_number_is_a_bad_request(length: str) -> None:
    app = App()
    answer = ask(limited(app), post(length))
    assert (answer.status, app.asked) == (400, 0)
    assert "Content-Length" in answer.error


def test_a_larger_body_than_declared_is_still_counted() -> None:
    app = App()
    assert ask(limited(app), post("5"), received(b"x" * 11)).status == 413
    assert app.asked == 0


def test_a_body_that_does_not_end_in_time_is_refused() -> None:
    app = App()
    guarded = limited(app, timeout_seconds=0.05)
    began = time.monotonic()
    answer = ask(guarded, post(), received(b"abc", ends=False))
    assert time.monotonic() - began < 2.0
    assert answer.status == 408
    assert "time" in answer.error
    assert answer.headers["connection"] == "close"
    assert (app.asked, guarded.held) == (0, 0)


def test_the_deadline_is_one_for_the_whole_body() -> None:
    """A client that sends a byte now and then does not move it."""

    async def trickle() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"", "more_body": True}

    assert ask(limited(App(), timeout_seconds=0.1), post(), trickle).status == 408


def test_the_deadline_does_not_bound_the_answer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert ask(limited(app, timeout_seconds=0.05), post(), received(b"x")).status == 200


def test_a_client_that_keeps_sending_is_cut_off_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(body_module, "LINGER_SECONDS", 0.05)

    async def endless() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x" * 9, "more_body": True}

    began = time.monotonic()
    answer = ask(limited(App()), post(), endless)
    assert answer.status == 413
    assert time.monotonic() - began < 2.0
    assert answer.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


def test_a_client_that_goes_away_gets_nothing_and_holds_nothing() -> None:
    app = App()
    messages: list[Message] = [
        {"type": "http.request", "body": b"abc", "more_body": True},
        {"type": "http.disconnect"},
    ]
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    guarded = limited(app)
    assert ask(guarded, post(), receive).messages == []
    assert (app.asked, guarded.held) == (0, 0)


def test_all_bodies_together_are_bounded() -> None:
    async def check() -> tuple[list[int], int, int]:
        go_on = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await go_on.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        guarded = limited(app, held=20)
        body = b"x" * 8
        begun = [asyncio.create_task(ask_async(guarded, post(), received(body))) for _ in range(3)]
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        held = guarded.held
        go_on.set()
        statuses = [answer.status for answer in await asyncio.gather(*begun)]
        return statuses, held, guarded.held

    assert asyncio.run(check()) == ([200, 200, 429], 16, 0)


def test_what_a_failing_application_held_is_given_back() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    guarded = limited(app)
    with pytest.raises(ZeroDivisionError):
        ask(guarded, post(), received(b"abc"))
    assert guarded.held == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_request_that_only_reads_is_not_waited_for(method: str) -> None:
    seen: list[Any] = []

    async def receive() -> Message:
        raise AssertionError

    async def app(scope: Scope, given: Receive, send: Send) -> None:
        seen.append(given)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert ask(limited(app), scope(method), receive).status == 200
    assert seen == [receive]


def test_the_start_of_the_server_passes() -> None:
    assert passes_other_scopes(limited)
