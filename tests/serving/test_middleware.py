"""The protections: headers, counting and draining, bodies, and all of them together."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

import pytest
from fake_asgi import Answer, App, ask, ask_async, passes_other_scopes, received, scope
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qkv.serving import middleware
from qkv.serving.access import Keys
from qkv.serving.metrics import Metrics
from qkv.serving.middleware import (
    ActiveRequests,
    Admission,
    BodyLimit,
    SecurityHeaders,
    check_queue,
    protect,
)
from qkv.serving.settings import ServingSettings

LIMIT = 10
KEY = "correct-horse-battery"
GOOD = {"host": "127.0.0.1:8000", "authorization": f"Bearer {KEY}", "content-length": "5"}
PREDICT = "/v1/models/a/predict"


# --- headers


def test_every_answer_says_what_a_browser_must_not_do() -> None:
    headers = ask(SecurityHeaders(App())).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "connection" not in headers
    assert not any(name.startswith("access-control") for name in headers)


def test_an_answer_keeps_its_own_headers_and_its_own_word_on_caches() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        own = [(b"cache-control", b"max-age=60"), (b"etag", b'"1"')]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b""})
        assert own == [(b"cache-control", b"max-age=60"), (b"etag", b'"1"')]  # not written into

    headers = ask(SecurityHeaders(app)).headers
    assert headers["cache-control"] == "max-age=60"
    assert headers["etag"] == '"1"'
    assert "content-security-policy" in headers


def test_connections_end_with_their_answer_while_closing() -> None:
    closing = False
    guarded = SecurityHeaders(App(), closing=lambda: closing)
    assert "connection" not in ask(guarded).headers
    closing = True
    assert ask(guarded).headers["connection"] == "close"


def test_a_connection_that_ends_anyway_is_told_so_once() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        own = [(b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b""})

    assert ask(SecurityHeaders(app, closing=lambda: True)).headers["connection"] == "close"


def test_a_failure_is_answered_in_form_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("secret")

    with caplog.at_level(logging.ERROR):
        answer = ask(SecurityHeaders(app), scope("POST", "/v1/models/a/predict"))
    assert answer.status == 500
    assert "secret" not in answer.error
    assert "content-security-policy" in answer.headers
    assert "POST /v1/models/a/predict" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_failure_in_the_middle_of_an_answer_cuts_it_off() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(SecurityHeaders(app))


# --- counting and draining


def test_what_is_being_answered_is_counted_until_it_is_answered() -> None:
    async def check() -> list[int]:
        active = ActiveRequests()
        go_on = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await go_on.wait()

        guarded = Admission(app, active=active, checks=[])
        await asyncio.wait_for(active.wait_for_none(), 1)
        begun = [asyncio.create_task(ask_async(guarded)) for _ in range(2)]
        await asyncio.sleep(0)
        counts = [active.count]
        quiet = asyncio.create_task(active.wait_for_none())
        begun[0].cancel()  # a client that went away
        await asyncio.wait([begun[0]])
        counts.append(active.count)
        assert not quiet.done()
        go_on.set()
        await asyncio.wait_for(quiet, 1)
        return [*counts, active.count]

    assert asyncio.run(check()) == [2, 1, 0]


def test_a_failing_request_is_answered_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    active = ActiveRequests()
    with pytest.raises(ZeroDivisionError):
        ask(Admission(app, active=active, checks=[]))
    assert active.count == 0


@pytest.mark.parametrize("path", ["/v1/models/a/predict", "/", "/readyz"])
def test_while_draining_new_requests_are_refused(path: str) -> None:
    app, active = App(), ActiveRequests()
    active.draining = True
    answer = ask(Admission(app, active=active, checks=[]), scope("POST", path))
    assert answer.status == 503
    assert answer.headers["connection"] == "close"
    assert int(answer.headers["retry-after"]) > 0
    assert "stopping" in answer.error
    assert (app.asked, active.count) == (0, 0)


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
def test_while_draining_the_server_still_says_how_it_is(path: str) -> None:
    app, active = App(), ActiveRequests()
    active.draining = True
    assert ask(Admission(app, active=active, checks=[]), scope(path=path)).status == 200


def test_work_for_a_full_queue_is_refused_unread() -> None:
    asked: list[tuple[str, str]] = []

    def is_full(model: str, work: str) -> bool:
        asked.append((model, work))
        return work == "predict"

    async def unread() -> Message:
        raise AssertionError

    app = App()
    guarded = Admission(
        app, active=ActiveRequests(), checks=[partial(check_queue, is_full=is_full)]
    )
    answer = ask(guarded, scope("POST", "/v1/models/fashion.1/predict"), unread)
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "waiting" in answer.error
    assert ask(guarded, scope("POST", "/v1/models/fashion.1/explain"), received()).status == 200
    assert ask(guarded, scope("POST", "/v1/studies/recurrence"), received()).status == 200
    assert ask(guarded, scope("GET", "/v1/models/fashion.1/predict"), received()).status == 200
    assert asked == [("fashion.1", "predict"), ("fashion.1", "explain")]


# --- bodies


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
    monkeypatch.setattr(middleware, "LINGER_SECONDS", 0.05)

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


# --- together


class Guarded:
    def __init__(self, **settings: Any) -> None:
        self.app, self.active, self.metrics = App(), ActiveRequests(), Metrics()
        self.full = False
        self.guard = protect(
            self.app,
            ServingSettings(**settings),
            active=self.active,
            keys=Keys([KEY]),
            metrics=self.metrics,
            is_full=lambda model, work: self.full,
        )

    def post(self, *, reads: bool = False, **changes: str | None) -> Answer:
        """Ask for a prediction, with some headers changed; unless it `reads`, it must not."""

        async def unread() -> Message:
            raise AssertionError("a refused body was read")

        given = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
        headers = [(name, value) for name, value in given.items() if value is not None]
        request = scope("POST", PREDICT, headers)
        answer = ask(self.guard, request, received(b"image") if reads else unread)
        assert "content-security-policy" in answer.headers
        assert (answer.status == 200) == bool(self.app.asked)
        assert self.active.count == 0
        return answer


def test_a_good_request_passes_with_its_body() -> None:
    guarded = Guarded()
    assert guarded.post(reads=True).status == 200
    assert guarded.app.bodies == [b"image"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": None}, 400),
        ({"origin": "http://evil.example"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"authorization": None}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"content_length": "x"}, 400),
    ],
)
def test_each_protection_refuses_without_reading(changes: dict[str, Any], status: int) -> None:
    answer = Guarded().post(**changes)
    assert answer.status == status
    assert answer.error


def test_a_full_queue_refuses_without_reading_but_only_those_with_a_key() -> None:
    guarded = Guarded()
    guarded.full = True
    assert guarded.post().status == 429
    assert guarded.post(authorization=None).status == 401  # a stranger learns nothing of queues


def test_too_large_a_body_is_refused() -> None:
    assert Guarded(max_body_bytes=4).post(reads=True).status == 413


def test_while_draining_all_is_refused_and_connections_end() -> None:
    guarded = Guarded()
    guarded.active.draining = True
    answer = guarded.post(reads=True)
    assert answer.status == 503
    assert answer.headers["connection"] == "close"


def test_the_bound_host_and_the_allowed_ones_pass() -> None:
    settings: dict[str, Any] = {"host": "models.lan", "allowed_hosts": ("example.org",)}
    for host in ("models.lan:8000", "example.org", "localhost"):
        assert Guarded(**settings).post(reads=True, host=host).status == 200
    assert Guarded(**settings).post(host="org").status == 421


def test_every_address_is_no_name() -> None:
    assert Guarded(host="0.0.0.0", no_auth=True).post(host="0.0.0.0").status == 421


def test_refusals_are_counted_like_answers() -> None:
    guarded = Guarded()
    guarded.post(reads=True)
    text = guarded.metrics.render().decode()
    assert 'qkv_requests_total{method="POST",route="none",status="200"} 1.0' in text
    guarded = Guarded()
    guarded.post(host="evil.example")
    text = guarded.metrics.render().decode()
    assert 'qkv_requests_total{method="POST",route="none",status="421"} 1.0' in text


def test_the_start_of_the_server_passes() -> None:
    settings = ServingSettings()
    assert passes_other_scopes(
        lambda app: protect(app, settings, active=ActiveRequests(), metrics=Metrics())
    )
