"""From the body of a request to inputs: image bytes, multipart files, or JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from qkv.errors import DataError, QKVError
from qkv.serving.errors import ServingError
from qkv.serving.models import ServedModel
from qkv.serving.multipart import file_parts
from qkv.serving.predictors import ImagePredictor, ReadText
from qkv.serving.settings import ServingSettings

Input = TypeVar("Input")

# What takes longer than handing it to another thread and back is not done on the event loop.
QUICK_TEXT_CHARACTERS = 2_000

MAX_TOP_K = 100_000
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


def media_type(content_type: bytes) -> str:
    """The type of a Content-Type header without parameters, in lower case."""
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")


def parse_body(content: bytes, content_type: bytes, model: ServedModel, max_inputs: int) -> Body:
    """What the body of a request holds.

    Raises:
        ServingError: it is empty, malformed, of another type than the model reads, or holds no
            input or too many.
    """
    kind = media_type(content_type)
    if kind == "application/json":
        body = _from_json(content, model)
    elif model.task == "vision" and kind.startswith("image/"):
        body = Body([content], several=False)
    elif model.task == "vision" and kind == "multipart/form-data":
        body = Body(list(file_parts(content, content_type)), several=True)
    else:
        given = repr(kind) if kind else "no type"
        wanted = "an image (image/*), multipart/form-data or " if model.task == "vision" else ""
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
    read = [await _read_one(item, model, settings) for item in body.inputs]
    tokens = sum(item.tokens for item in read if isinstance(item, ReadText))
    if tokens > settings.max_request_tokens and len(read) > 1:
        raise ServingError(
            413,
            f"the texts have {tokens:,} tokens together",
            remedy=f"send at most {settings.max_request_tokens:,} at a time",
        )
    return read


def parse_top_k(text: str) -> int:
    """The number of classes asked for.

    Raises:
        ServingError: it is not a whole number from 1.
    """
    if text.isascii() and text.isdigit() and len(text) <= 6 and 0 < int(text) <= MAX_TOP_K:
        return int(text)
    raise _bad_top_k(text)


async def _read_one(
    item: bytes | str | QKVError, model: ServedModel, settings: ServingSettings
) -> Any:
    if isinstance(item, QKVError):
        return item
    predictor = model.predictor
    try:
        if isinstance(predictor, ImagePredictor):
            assert isinstance(item, bytes)
            max_pixels = settings.max_pixels
            if predictor.is_quick(item):
                return predictor.read(item, max_pixels=max_pixels)
            return await _elsewhere(lambda: predictor.read(item, max_pixels=max_pixels))
        assert isinstance(item, str)
        require_text(item, settings.max_text_characters)
        if len(item) <= QUICK_TEXT_CHARACTERS:
            return predictor.read(item)
        return await _elsewhere(lambda: predictor.read(item))
    except QKVError as error:
        return error


def require_text(text: str, max_characters: int) -> None:
    """See that a text is not too long to be looked at.

    Raises:
        DataError: it is.
    """
    if len(text) > max_characters:
        raise DataError(
            f"the text has {len(text):,} characters",
            remedy=f"send at most {max_characters:,}",
        )


async def _elsewhere(work: Callable[[], Input]) -> Input:
    return await asyncio.get_running_loop().run_in_executor(_READERS, work)


def _from_json(content: bytes, model: ServedModel) -> Body:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        problem = str(error).splitlines()[0] if isinstance(error, ValueError) else "too deep"
        raise ServingError(
            400, f"the body is not JSON: {problem}", remedy="send a JSON object with inputs"
        ) from None
    if not isinstance(document, dict) or "inputs" not in document:
        raise ServingError(
            422, "the JSON body has no inputs", remedy='send {"inputs": …, "parameters": {…}}'
        )
    if unknown := sorted(set(document) - {"inputs", "parameters"}):
        raise ServingError(
            422, f"unknown key {unknown[0]!r}", remedy="send inputs and parameters alone"
        )
    given = document["inputs"]
    several = isinstance(given, list)
    items: Sequence[Any] = given if several else [given]
    if not all(isinstance(item, str) for item in items):
        raise ServingError(
            422, "inputs is neither a string nor a list of strings", remedy="send strings"
        )
    if model.task == "vision":
        items = [_decoded(item) for item in items]
    return Body(list(items), several=several, top_k=_top_k_of(document.get("parameters")))


def _top_k_of(parameters: Any) -> int | None:
    if parameters is None:
        return None
    if not isinstance(parameters, dict) or set(parameters) - {"top_k"}:
        raise ServingError(
            422, "parameters can hold top_k and nothing else", remedy="leave the rest out"
        )
    top_k = parameters.get("top_k")
    if top_k is None:
        return None
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= MAX_TOP_K:
        raise _bad_top_k(top_k)
    return top_k


def _bad_top_k(given: object) -> ServingError:
    shown = repr(given)
    return ServingError(
        422,
        f"top_k is {shown if len(shown) < 40 else 'too long'}",
        remedy=f"give a whole number from 1 to {MAX_TOP_K:,}",
    )


def _decoded(text: str) -> bytes | QKVError:
    """The bytes of a base64 string, with or without the beginning of a data URL."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return DataError("the input is not base64", remedy="encode the image's bytes as base64")
