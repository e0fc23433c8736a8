"""A server process around an application without models: `python serve_small.py SETTINGS-JSON`.

It answers `/v1/models/a/predict` with the bytes that it was sent, after as many seconds as
`?seconds=` says, and `/fail` with an error that nobody planned.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response

from qkv.cli.console import say
from qkv.serving.middleware import ActiveRequests, protect
from qkv.serving.server import bind, serve_app
from qkv.serving.settings import ServingSettings


def small_app(settings: ServingSettings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        say("closed in order")

    app = FastAPI(lifespan=lifespan)
    app.state.models = {"a": None, "b": None}
    app.state.active_requests = ActiveRequests()

    @app.post("/v1/models/a/predict")
    async def predict(request: Request, seconds: float = 0.0) -> Response:
        body = await request.body()
        await asyncio.sleep(seconds)
        return Response(body)

    @app.get("/readyz")
    @app.get("/healthz")
    async def healthy() -> str:
        return "ok"

    @app.get("/fail")
    async def fail() -> None:
        raise ZeroDivisionError

    app.add_middleware(protect, settings=settings, active=app.state.active_requests)
    return app


if __name__ == "__main__":
    given = ServingSettings.parse(json.loads(sys.argv[1]), where="the test")
    sys.exit(serve_app(small_app(given), bind(given.host, given.port), given, say=say))
