"""The application: routes, protections, and the threads that compute."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from qkv import __version__
from qkv.serving.access import read_keys
from qkv.serving.engine import Engine
from qkv.serving.errors import add_error_handlers
from qkv.serving.metrics import Metrics
from qkv.serving.middleware import ActiveRequests, protect
from qkv.serving.models import Models
from qkv.serving.page import router as page
from qkv.serving.routes.examples import router as examples
from qkv.serving.routes.predict import router as predict
from qkv.serving.routes.status import router as status
from qkv.serving.routes.studies import router as studies
from qkv.serving.settings import ServingSettings

_DESCRIPTION = (
    "Predictions of small attention models, their explanations, and what they attend to. "
    "Every error is JSON: `error` says what is wrong, `remedy` what to do."
)


def create_app(models: Models, settings: ServingSettings) -> FastAPI:
    """The server of some models, as an ASGI application.

    Its threads start and end with its lifespan, which raises what `Engine.start` does. `app.state`
    has `models`, `settings`, `engine`, `metrics` and `active_requests`.

    Args:
        models: what is served.
        settings: its limits.

    Raises:
        QKVError: the file of keys is unfit.
    """
    keys = None if settings.api_key_file is None else read_keys(settings.api_key_file)
    metrics = Metrics()
    engine = Engine(models, settings, observe=metrics.of_batches)
    active = ActiveRequests()
    for queue, batcher in {**engine.batchers, "inspection": engine.inspection}.items():
        metrics.watch_queue(queue, lambda batcher=batcher: batcher.waiting)  # type: ignore[misc]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await engine.start()
            yield
        finally:
            await engine.drain()

    app = FastAPI(
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
    app.state.active_requests = active
    app.state.run_examples = {}
    add_error_handlers(app)
    # Matched in this order: what a busy server gets most comes first.
    for router in (predict, status, examples, studies, page):
        app.include_router(router)
    app.add_middleware(
        protect,
        settings=settings,
        active=active,
        keys=keys,
        metrics=metrics,
        is_full=lambda model, work: engine.is_full(model, work),
    )
    return app
