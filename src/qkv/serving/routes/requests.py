"""What all routes that answer for an input have in common."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive

from qkv.errors import QKVError
from qkv.serving.engine import Engine
from qkv.serving.errors import ClientGoneError, ServingError
from qkv.serving.models import ServedModel
from qkv.serving.request_inputs import Body, parse_body, read_input
from qkv.serving.schemas import ErrorAnswer
from qkv.settings import nearest

# Most answers are there sooner; a task that listens for each of them would cost more than they do.
LISTEN_AFTER_SECONDS = 0.05

_REASONS = {
    400: "The request is malformed.",
    401: "A key is needed.",
    403: "A page of another origin sent the request.",
    404: "There is no such model.",
    408: "The body came too slowly.",
    413: "The body, or what is in it, is too large.",
    415: "The body has a type that the model does not read.",
    421: "The server does not go by that name.",
    422: "An input or a parameter is unfit.",
    429: "Too much is waiting; Retry-After says when to try again.",
    503: "The server is starting or stopping.",
}
_OF_LOOKING = (400, 401, 404, 421, 422, 503)
_OF_ASKING = (400, 401, 403, 404, 408, 413, 415, 421, 422, 429, 503)


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": _REASONS[status]} for status in statuses}


LOOKING_ERRORS = _errors(*_OF_LOOKING)
ASKING_ERRORS = _errors(*_OF_ASKING)


def served_model(request: Request, model_id: str) -> ServedModel:
    """The model of that id.

    Raises:
        ServingError: there is none.
    """
    models = request.app.state.models
    model: ServedModel | None = models.get(model_id)
    if model is None:
        shown = repr(model_id if len(model_id) <= 64 else model_id[:64] + "…")
        raise ServingError(
            404, f"there is no model {shown}", remedy=nearest(model_id[:64], models, what="models")
        )
    return model


def engine_of(request: Request) -> Engine:
    """What computes."""
    engine: Engine = request.app.state.engine
    return engine


async def body_of(request: Request, model: ServedModel) -> Body:
    """The parsed body.

    Raises:
        ServingError: it is unfit.
    """
    settings = request.app.state.settings
    return await parse_body(request, model, min(settings.max_inputs, settings.queue_size))


async def one_input(request: Request, model: ServedModel) -> tuple[bytes | str, Any]:
    """The only input of a body: as it came, and what the model reads of it.

    Raises:
        QKVError: there are several, or it is unfit.
    """
    body = await body_of(request, model)
    if len(body.inputs) != 1:
        raise ServingError(
            422, f"the request has {len(body.inputs)} inputs", remedy="send one at a time"
        )
    (given,) = body.inputs
    read = await read_input(given, model, request.app.state.settings)
    assert not isinstance(given, QKVError)
    return given, read


def as_json(document: Any) -> bytes:
    """A document as JSON; one that holds what JSON cannot is a bug."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def json_answer(content: bytes) -> Response:
    """An answer of JSON that is written already."""
    return Response(content, media_type="application/json")


class CancelOnDisconnect:
    """A context that is cancelled when the client of a request goes away; its body has been read.

    Raises:
        ClientGoneError: the client went away before the context ended.
    """

    __slots__ = ("_gone", "_listening", "_receive", "_task", "_timer")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._listening: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = task.get_loop().call_later(LISTEN_AFTER_SECONDS, self._begin)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
        if self._gone and kind is asyncio.CancelledError and self._task.uncancel() == 0:
            raise ClientGoneError

    def _begin(self) -> None:
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()


def described_body(*, several: bool) -> dict[str, Any]:
    """The request body as OpenAPI has it."""
    text: dict[str, Any] = {
        "type": "string",
        "minLength": 1,
        "description": "A text, or an image in base64.",
    }
    properties: dict[str, Any] = {"inputs": text}
    if several:
        properties["inputs"] = {
            "anyOf": [text, {"type": "array", "items": text, "minItems": 1}],
            "description": "One input, or several.",
        }
        properties["parameters"] = {
            "type": "object",
            "properties": {"top_k": {"type": "integer", "minimum": 1, "maximum": 100_000}},
            "additionalProperties": False,
        }
    file = {"type": "string", "format": "binary"}
    files = {"type": "array", "items": file, "minItems": 1}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": properties,
                        "required": ["inputs"],
                        "additionalProperties": False,
                    }
                },
                "image/*": {"schema": file},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"file": files if several else file},
                        "required": ["file"],
                    }
                },
            },
        }
    }
