"""The short way for the request that a busy server gets most: one small image, one answer.

It answers as the route for predictions does, without what that does for every other kind of body.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from qkv.errors import QKVError
from qkv.serving.engine import Engine
from qkv.serving.errors import ClientGoneError
from qkv.serving.models import Models, ServedModel
from qkv.serving.predictors import ImagePredictor
from qkv.serving.presence import WhilePresent
from qkv.serving.refused import answer_error
from qkv.serving.settings import ServingSettings

_TOP_K = re.compile(rb"top_k=([1-9][0-9]{0,4})")
TEMPLATE = "/v1/models/{model_id}/predict"


class _Template:
    """What metrics call the route."""

    path = TEMPLATE


_ROUTE = _Template()


class QuickPredictions:
    """ASGI middleware that predicts single small images, and passes on everything else.

    Args:
        app: answers everything else.
        models: what is served.
        engine: what computes.
        settings: the limits.
    """

    def __init__(
        self, app: ASGIApp, *, models: Models, engine: Engine, settings: ServingSettings
    ) -> None:
        self._app = app
        self._engine = engine
        self._max_pixels = settings.max_pixels
        self._models = {
            TEMPLATE.format(model_id=model.id): (model, model.predictor)
            for model in models.values()
            if isinstance(model.predictor, ImagePredictor)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        found = None
        if scope["type"] == "http" and scope["method"] == "POST":
            found = self._models.get(scope["path"])
        if found is None or not _has_image(scope):
            await self._app(scope, receive, send)
            return
        query = scope["query_string"]
        top_k = None
        if query:
            match = _TOP_K.fullmatch(query)
            if match is None:
                await self._app(scope, receive, send)
                return
            top_k = int(match[1])
        message = await receive()
        content = message.get("body", b"")
        model, predictor = found
        if message.get("more_body") or not predictor.is_quick(content):
            await self._app(scope, _again(message, receive), send)
            return
        scope["route"] = _ROUTE
        try:
            answer = await self._predict(model, predictor, content, receive, top_k)
        except ClientGoneError:
            return
        except QKVError as error:
            await answer_error(error, send)
            return
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(answer)),
                ],
            }
        )
        await send({"type": "http.response.body", "body": answer})

    async def _predict(
        self,
        model: ServedModel,
        predictor: ImagePredictor,
        content: bytes,
        receive: Receive,
        top_k: int | None,
    ) -> bytes:
        batcher = self._engine.batchers[model.id]
        batcher.require_room()
        pixels = predictor.read(content, max_pixels=self._max_pixels)
        with WhilePresent(receive):
            scores = await batcher.submit(pixels)
        return predictor.writer.write(scores, top_k).encode()


def _has_image(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bool(value.startswith(b"image/"))
    return False


def _again(message: object, receive: Receive) -> Receive:
    """A `receive` that gives a message back before what follows it."""
    waiting = [message]

    async def replay() -> object:
        return waiting.pop() if waiting else await receive()

    return replay  # type: ignore[return-value]
