"""From the body of a request to inputs: image bytes, multipart files, or JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from qkv.errors import DataError, QKVError
from qkv.serving.errors import ServingError
from qkv.serving.models import ServedModel
from qkv.serving.settings import ServingSettings

MAX_TOP_K = 100_000
FIELD = "file"
_MOST_PARTS = 10_000
_READERS = ThreadPoolExecutor(2, thread_name_prefix="reading")


@dataclass(frozen=True)
class Body:
    """What a request asks about.

    Attributes:
        inputs: encoded images or texts; an error in the place of one that cannot be one.
        several: whether they came as a list, so that the answer is one.
        top_k: classes to answer with; None: all.
    """

    inputs: list[bytes | str | QKVError]
    several: bool
    top_k: int | None = None


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    top_k: int | None = Field(default=None, ge=1, le=MAX_TOP_K)


class _JsonBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: str | list[str]
    parameters: _Parameters | None = None


async def parse_body(request: Request, model: ServedModel, max_inputs: int) -> Body:
    """What the body of a request holds.

    Raises:
        ServingError: it is empty, malformed, of another type than the model reads, or holds no
            input or too many.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    content = await request.body()
    reads_images = model.task == "vision"
    if kind == "application/json":
        body = _from_json(content, reads_images=reads_images)
    elif reads_images and kind.startswith("image/"):
        body = Body([content], several=False)
    elif reads_images and kind == "multipart/form-data":
        body = Body(await _files(request, content), several=True)
    else:
        given = repr(kind) if kind else "no type"
        wanted = "an image (image/*), multipart/form-data or " if reads_images else ""
        raise ServingError(
            415,
            f"the body has {given}, and {model.id} reads {model.task}",
            remedy=f"send {wanted}application/json with inputs, and say so in Content-Type",
        )
    if not content:
        raise ServingError(400, "the body is empty", remedy="send what the model shall answer for")
    if not body.inputs:
        raise ServingError(422, "there is no input", remedy="send at least one")
    if len(body.inputs) > max_inputs:
        raise ServingError(
            413,
            f"the request has {len(body.inputs):,} inputs",
            remedy=f"send at most {max_inputs:,} at a time",
        )
    return body


async def read_inputs(body: Body, model: ServedModel, settings: ServingSettings) -> list[Any]:
    """What a model reads of each input; an error in the place of one that is unfit.

    Raises:
        ServingError: the texts have too many tokens together.
    """
    predictor = model.predictor
    read: list[Any] = []
    for item in body.inputs:
        try:
            read.append(await read_input(item, model, settings))
        except QKVError as error:
            read.append(error)
    if predictor.unit == "tokens":
        tokens = sum(predictor.cost(item) for item in read if not isinstance(item, QKVError))
        if tokens > settings.max_request_tokens and len(read) > 1:
            raise ServingError(
                413,
                f"the texts have {tokens:,} tokens together",
                remedy=f"send at most {settings.max_request_tokens:,} at a time",
            )
    return read


async def read_input(
    item: bytes | str | QKVError, model: ServedModel, settings: ServingSettings
) -> Any:
    """What a model reads of one input.

    Raises:
        QKVError: it is unfit.
    """
    if isinstance(item, QKVError):
        raise item
    predictor: Any = model.predictor
    read = predictor.read_short(item, settings)
    if read is not None:
        return read
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_READERS, predictor.read, item, settings)


def _from_json(content: bytes, *, reads_images: bool) -> Body:
    try:
        document = _JsonBody.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise ServingError(
                400, f"the body is no JSON: {first['msg']}", remedy="send a JSON object with inputs"
            ) from None
        where = ".".join(str(part) for part in first["loc"][:2]) or "the body"
        raise ServingError(
            422, f"{where}: {first['msg']}", remedy='send {"inputs": …, "parameters": {…}}'
        ) from None
    several = isinstance(document.inputs, list)
    texts = document.inputs if isinstance(document.inputs, list) else [document.inputs]
    return Body(
        [_decoded(text) if reads_images else text for text in texts],
        several=several,
        top_k=document.parameters.top_k if document.parameters else None,
    )


def _decoded(text: str) -> bytes | QKVError:
    """The bytes of a base64 string, with or without the beginning of a data URL."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return DataError("the input is not base64", remedy="encode the image's bytes as base64")


async def _files(request: Request, content: bytes) -> list[bytes | str | QKVError]:
    """The content of every file called `file` in a multipart body, in order."""
    if not content.rstrip().endswith(b"--"):
        raise _malformed("its end is missing")
    try:
        async with request.form(max_files=_MOST_PARTS) as form:
            parts = form.multi_items()
            if not all(name == FIELD and isinstance(part, UploadFile) for name, part in parts):
                raise ServingError(
                    422,
                    "a part of the body is not a file called 'file'",
                    remedy="send each image as a file called 'file'",
                )
            return [await part.read() for _, part in parts if isinstance(part, UploadFile)]
    except HTTPException as error:
        raise _malformed(error.detail) from None


def _malformed(problem: str) -> ServingError:
    return ServingError(
        400, f"the multipart body is malformed: {problem}", remedy="send it as RFC 7578 says"
    )
