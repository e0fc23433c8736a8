"""A request, the application behind a protection, and what the client gets, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = Iterable[tuple[str, str]]


@dataclass
class Answer:
    """What was sent."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        starts = [m for m in self.messages if m["type"] == "http.response.start"]
        assert len(starts) == 1, self.messages
        return int(starts[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        pairs = [(k.decode(), v.decode()) for k, v in self.messages[0]["headers"]]
        assert len(dict(pairs)) == len(pairs), f"a header twice: {pairs}"
        return dict(pairs)

    @property
    def body(self) -> bytes:
        return b"".join(m["body"] for m in self.messages[1:])

    @property
    def error(self) -> str:
        """The error, which must come with a remedy and nothing else, each on one line."""
        document = json.loads(self.body)
        assert sorted(document) == ["error", "remedy"]
        assert all("\n" not in line and line for line in document.values())
        assert self.headers["content-length"] == str(len(self.body))
        assert self.headers["content-type"] == "application/json"
        return str(document["error"])


class App:
    """An application that keeps what it was asked and answers 200 `done`."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    @property
    def asked(self) -> int:
        return len(self.bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def scope(
    method: str = "GET",
    path: str = "/v1/models",
    headers: Headers = (("host", "localhost:8000"),),
    **more: Any,
) -> Scope:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "method": method, "path": path, "headers": pairs, **more}


def received(*chunks: bytes, ends: bool = True) -> Receive:
    """A client that sends these chunks, and then nothing, or keeps the rest of the body back."""
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks or (b"",)
    ]
    if ends:
        messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive() -> Message:
        for message in waiting:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    return receive


def ask(app: ASGIApp, request: Scope | None = None, receive: Receive | None = None) -> Answer:
    return asyncio.run(ask_async(app, request, receive))


async def ask_async(
    app: ASGIApp, request: Scope | None = None, receive: Receive | None = None
) -> Answer:
    answer = Answer()

    async def send(message: Message) -> None:
        answer.messages.append(message)

    await app(request or scope(), receive or received(), send)
    return answer


def passes_other_scopes(make: Callable[[ASGIApp], ASGIApp]) -> bool:
    """Whether what is no request, such as the start of the server, goes through untouched."""
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    asyncio.run(make(app)({"type": "lifespan"}, nothing, nothing))
    return seen == ["lifespan"]
