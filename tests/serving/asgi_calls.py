"""Requests to an application in this process, without a socket between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI


@dataclass(frozen=True)
class Reply:
    """What an application answered; status 0 if it did not."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One client: it sends a body, and may go away before the answer."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.gone = asyncio.Event()

    async def ask(
        self, method: str, path: str, body: bytes = b"", content_type: str = "", query: str = ""
    ) -> Reply:
        headers = [(b"host", b"127.0.0.1:8000")]
        if content_type:
            headers.append((b"content-type", content_type.encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers,
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
        }
        unread = [body]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)  # type: ignore[arg-type]
        if not sent:
            return Reply(0, {}, b"")
        return Reply(
            sent[0]["status"],
            {name.decode(): value.decode() for name, value in sent[0]["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
        )


async def ask(app: FastAPI, method: str, path: str, *rest: str | bytes, **more: Any) -> Reply:
    """What a client that stays is answered."""
    return await Client(app).ask(method, path, *rest, **more)


@asynccontextmanager
async def started(app: FastAPI) -> AsyncIterator[None]:
    """The application with its threads running."""
    async with app.router.lifespan_context(app):
        yield


def run(test: Coroutine[Any, Any, None], *, seconds: float = 60) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await test

    asyncio.run(bounded())
