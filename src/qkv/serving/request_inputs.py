"""From the body of a request to inputs: image bytes, multipart files, or JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

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
    if predictor.is_short(item):
        return predictor.read(item, settings)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_READERS, predictor.read, item, settings)


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


def file_parts(content: bytes, content_type: bytes) -> list[bytes]:
    """The content of every part called `file`, in order.

    Raises:
        ServingError: the body is malformed, or a part has another name.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise _malformed("Content-Type names no boundary")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(content)
        parser.finalize()
    except FormParserError as error:
        raise _malformed(str(error).splitlines()[0][:100]) from None
    if not reader.ended:
        raise _malformed("its end is missing")
    return reader.files


class _Reader:
    """Gathers parts as the parser comes upon them."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.ended = False
        self._content: list[bytes] = []
        self._name = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_field": self._field,
            "on_header_value": self._header_value,
            "on_header_end": self._header,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.files) >= _MOST_PARTS:
            raise ServingError(413, "the body has too many parts", remedy="send fewer files")
        self._content, self._headers = [], {}

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _end(self) -> None:
        options = parse_options_header(self._headers.get(b"content-disposition", b""))[1]
        if options.get(b"name") != FIELD.encode():
            raise ServingError(
                422,
                "a part of the body is not called 'file'",
                remedy="send each image as a part called 'file'",
            )
        self.files.append(b"".join(self._content))

    def _finish(self) -> None:
        self.ended = True


def _malformed(problem: str) -> ServingError:
    return ServingError(
        400, f"the multipart body is malformed: {problem}", remedy="send it as RFC 7578 says"
    )
