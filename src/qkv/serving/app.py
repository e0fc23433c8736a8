"""The application: routes, protections, and the threads that compute."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from qkv import __version__
from qkv.serving.engine import Engine
from qkv.serving.guard import Traffic, guard, read_keys
from qkv.serving.metrics import Metrics
from qkv.serving.models import Models
from qkv.serving.page import router as page
from qkv.serving.quick import QuickPredictions
from qkv.serving.refused import add_error_handlers
from qkv.serving.routes.attention import router as attention
from qkv.serving.routes.examples import router as examples
from qkv.serving.routes.explain import router as explain
from qkv.serving.routes.health import router as health
from qkv.serving.routes.models import router as models_router
from qkv.serving.routes.predict import router as predict
from qkv.serving.routes.report import router as report
from qkv.serving.routes.studies import router as studies
from qkv.serving.settings import ServingSettings

ROUTERS = (health, models_router, predict, explain, attention, examples, report, studies, page)
_DESCRIPTION = (
    "Predictions of small attention models, their explanations, and what they attend to. "
    "Every error is JSON: `error` says what is wrong, `remedy` what to do."
)


def create_app(models: Models, settings: ServingSettings) -> FastAPI:
    """The server of some models, as an ASGI application.

    Its threads start and end with its lifespan, which raises what `Engine.start` does. `app.state`
    has `models`, `settings`, `engine`, `metrics` and `traffic`.

    Args:
        models: what is served.
        settings: its limits.

    Raises:
        QKVError: the file of keys is unfit.
    """
    keys = None if settings.api_key_file is None else read_keys(settings.api_key_file)
    metrics = Metrics()
    engine = Engine(models, settings, observe=metrics.of_batches)
    traffic = Traffic()
    for model_id, batcher in engine.batchers.items():
        metrics.watch_queue(model_id, lambda batcher=batcher: batcher.waiting)  # type: ignore[misc]
    metrics.watch_queue("inspection", lambda: engine.inspection.waiting)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await engine.start()
            yield
        finally:
            await engine.drain()

    def protect(inner: ASGIApp) -> ASGIApp:
        return guard(
            QuickPredictions(inner, models=models, engine=engine, settings=settings),
            settings,
            traffic=traffic,
            keys=keys,
            metrics=metrics,
            is_full=engine.is_full,
        )

    app = _Application(
        protect,
        title="qkv",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # The names of a generated client's functions.
        generate_unique_id_function=lambda route: route.name,
        # Both would have the browser fetch scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.models = models
    app.state.settings = settings
    app.state.engine = engine
    app.state.metrics = metrics
    app.state.traffic = traffic
    add_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


class _Application(FastAPI):
    """FastAPI inside the protections, so that these see every request first and answer last.

    Args:
        protect: puts the protections around an application.
        settings: of FastAPI.
    """

    def __init__(self, protect: Callable[[ASGIApp], ASGIApp], **settings: Any) -> None:
        super().__init__(**settings)
        self._protect = protect

    def build_middleware_stack(self) -> ASGIApp:
        return self._protect(super().build_middleware_stack())
