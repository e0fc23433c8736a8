"""What a request is refused for: always JSON with a line on the problem and one on what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from qkv.errors import QKVError

Header = tuple[bytes, bytes]
CLOSE = (b"connection", b"close")
# What a browser may do with an answer: nothing beyond what the page needs.
SECURITY_HEADERS: tuple[Header, ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# An input, a method or a class that does not fit is the client's mistake.
_UNFIT = 422
_REMEDIES = {
    404: "see /openapi.json for what there is",
    405: "see the Allow header for what can be done here",
}


class ServingError(QKVError):
    """A request that is not answered as it asks; `status` and `headers` go with the message."""

    def __init__(
        self, status: int, problem: str, *, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(problem, remedy=remedy)
        self.status = status
        self.headers = dict(headers or {})


class QueueFullError(ServingError):
    """Too much waits already: 429 with Retry-After."""

    def __init__(self) -> None:
        super().__init__(
            429,
            "too many requests are waiting",
            remedy="try again after 1 s",
            headers={"Retry-After": "1"},
        )


class NotServingError(ServingError):
    """The server is starting or stopping: 503."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "the server is starting or stopping and takes no requests",
            remedy="wait until /readyz says that it is ready",
            headers={"Retry-After": "5"},
        )


class ClientGoneError(ServingError):
    """The client closed its connection before its answer was there; nobody reads this."""

    def __init__(self) -> None:
        super().__init__(499, "the client closed the connection", remedy="ask again")


class Refusal:
    """An ASGI application that answers every request with the same error; headers in lower case."""

    def __init__(
        self, status: int, error: str, *, remedy: str, headers: Sequence[Header] = ()
    ) -> None:
        body = _content(error, remedy)
        self.start: Message = {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
        self.body: Message = {"type": "http.response.body", "body": body, "more_body": False}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Refuse."""
        await send(self.start)
        await send(self.body)

    def closing_bytes(self) -> bytes:
        """A whole HTTP/1.1 answer that closes, for where no application can send it."""
        status = self.start["status"]
        headers = (*self.start["headers"], *SECURITY_HEADERS, CLOSE)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"", bytes(self.body["body"])])


def add_error_handlers(app: FastAPI) -> None:
    """Have an application answer every error in the one form."""
    app.add_exception_handler(QKVError, _deliberate)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_parameters)


async def _deliberate(_: Request, error: Exception) -> Response:
    assert isinstance(error, QKVError)
    if isinstance(error, ServingError):
        return _answer(error.status, error.problem, error.remedy, error.headers)
    return _answer(_UNFIT, error.problem, error.remedy)


async def _of_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    remedy = _REMEDIES.get(error.status_code, "see /openapi.json for what is expected")
    return _answer(error.status_code, str(error.detail), remedy, error.headers)


async def _of_parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: Any = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return _answer(_UNFIT, f"{where}: {first['msg']}", f"correct {where}; see /openapi.json")


def _answer(
    status: int, problem: str, remedy: str, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(
        _content(problem, remedy),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )


def _content(problem: str, remedy: str) -> bytes:
    lines = {"error": problem, "remedy": remedy}
    return json.dumps({name: " ".join(line.split()) for name, line in lines.items()}).encode()
