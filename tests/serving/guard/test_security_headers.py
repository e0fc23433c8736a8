"""Headers on every answer, and errors that nobody planned."""

from __future__ import annotations

import logging

import pytest
from fake_asgi import App, ask, passes_other_scopes, scope
from starlette.types import Receive, Scope, Send

from qkv.serving.guard.headers import SecurityHeaders


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


def test_the_start_of_the_server_passes() -> None:
    assert passes_other_scopes(SecurityHeaders)
