"""From bodies to inputs: what is read, and what is refused before any work."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.requests import Request

from qkv.errors import ImageError, QKVError
from qkv.serving.errors import ServingError
from qkv.serving.models import Models, ServedModel
from qkv.serving.predictors import ImagePredictor, TextPredictor
from qkv.serving.request_inputs import Body, parse_body
from qkv.serving.settings import ServingSettings

JSON = b"application/json"
FORM = b"multipart/form-data; boundary=x9x"


def encoded(pixels: np.ndarray, format: str = "png", **options: Any) -> bytes:  # noqa: A002
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)


def grey_png(width: int, height: int, *pixels: bytes) -> bytes:
    """A PNG file of these chunks of pixels, which need not fit its header."""
    header = struct.pack(">II5s", width, height, b"\x08\x00\x00\x00\x00")
    chunks = [(b"IHDR", header), *((b"IDAT", chunk) for chunk in pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def large_png() -> bytes:
    """A PNG of a few bytes whose header promises 2,000 × 2,000 pixels."""
    return grey_png(2_000, 2_000, zlib.compress(b"\x00" * 100))


# --- limits before work


def test_pixels_are_counted_before_they_are_decoded(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = models["bands"].predictor
    assert isinstance(predictor, ImagePredictor)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    with pytest.raises(ImageError, match="more than 1,000,000 pixels"):
        predictor.read(large_png(), ServingSettings(max_pixels=1_000_000))
    large = encoded(noise(40, 40), "jpeg")
    with pytest.raises(ImageError, match="more than 1,599 pixels"):
        predictor.read(large, ServingSettings(max_pixels=1_599))
    with pytest.raises(ImageError, match="more than 80 pixels"):
        predictor.read(encoded(noise(9, 9)), ServingSettings(max_pixels=80))


def test_an_image_of_just_the_limit_is_read(models: Models) -> None:
    predictor = models["bands"].predictor
    assert isinstance(predictor, ImagePredictor)
    for format in ("png", "jpeg", "webp"):  # noqa: A001
        content = encoded(noise(40, 40), format)
        assert predictor.read(content, ServingSettings(max_pixels=1_600)).shape == (1, 16, 16)


def test_an_empty_text_is_refused(models: Models) -> None:
    predictor = models["reviews"].predictor
    assert isinstance(predictor, TextPredictor)
    with pytest.raises(QKVError, match="empty"):
        predictor.read(" \n", ServingSettings())
    assert predictor.read("a good film", ServingSettings()).tokens == 5
    assert predictor.read("good " * 5000, ServingSettings()).tokens == predictor.max_tokens == 40


# --- bodies


def parsed(content: bytes, content_type: bytes, model: ServedModel, most: int = 9) -> Body:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    headers = [(b"content-type", content_type)]
    request = Request({"type": "http", "method": "POST", "headers": headers, "app": None}, receive)
    return asyncio.run(parse_body(request, model, most))


def test_json_gives_texts(models: Models) -> None:
    kind = b"Application/JSON; charset=utf-8"
    one = parsed(b'{"inputs": "good"}', kind, models["reviews"])
    assert (one.inputs, one.several, one.top_k) == (["good"], False, None)
    body = json.dumps({"inputs": ["a", "b"], "parameters": {"top_k": 2}}).encode()
    several = parsed(body, JSON, models["reviews"])
    assert (several.inputs, several.several, several.top_k) == (["a", "b"], True, 2)


def test_json_gives_images_in_base64(models: Models, picture: Callable[..., bytes]) -> None:
    content = picture(0)
    plain = base64.b64encode(content).decode()
    for text in (plain, f"data:image/png;base64,{plain}"):
        body = parsed(json.dumps({"inputs": text}).encode(), JSON, models["bands"])
        assert body.inputs == [content]
    body = parsed(json.dumps({"inputs": [plain, "?"]}).encode(), JSON, models["bands"])
    assert body.inputs[0] == content
    assert "not base64" in str(body.inputs[1])


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"\xff", JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"[]", JSON, 422),
        (b"3", JSON, 422),
        (b"{}", JSON, 422),
        (b'{"inputs": null}', JSON, 422),
        (b'{"inputs": []}', JSON, 422),
        (b'{"inputs": [1]}', JSON, 422),
        (b'{"inputs": [["a"]]}', JSON, 422),
        (b'{"inputs": "a", "parameter": {}}', JSON, 422),
        (b'{"inputs": "a", "parameters": []}', JSON, 422),
        (b'{"inputs": "a", "parameters": {"k": 1}}', JSON, 422),
        (b'{"inputs": "a", "parameters": {"top_k": 0}}', JSON, 422),
        (b'{"inputs": "a", "parameters": {"top_k": true}}', JSON, 422),
        (b'{"inputs": "a", "parameters": {"top_k": 1.5}}', JSON, 422),
        (b'{"inputs": ["a", "b", "c", "d"]}', JSON, 413),
        (b"a", b"", 415),
        (b"a", b"text/plain", 415),
        (b"a", b"image/png", 415),
        (b"a", b"multipart/form-data; boundary=x", 415),
    ],
)
def test_unfit_bodies_are_refused(
    models: Models, content: bytes, content_type: bytes, status: int
) -> None:
    with pytest.raises(ServingError) as refused:
        parsed(content, content_type, models["reviews"], 3)
    assert refused.value.status == status
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


# --- multipart


def form(*parts: tuple[str, bytes], boundary: str = "x9x") -> bytes:
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in parts
    ]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


@given(contents=st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_files_come_out_as_they_went_in(models: Models, contents: list[bytes]) -> None:
    body = form(*(("file", content) for content in contents), boundary="b0undary-of-no-content")
    kind = b"multipart/form-data; boundary=b0undary-of-no-content"
    assert parsed(body, kind, models["bands"]).inputs == contents


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (form(("file", b"a")), b"multipart/form-data", 400),
        (form(("file", b"a"))[:-6], FORM, 400),
        (b"", FORM, 400),
        (b"rubbish", FORM, 400),
        (form(("file", b"a"), boundary="other"), FORM, 400),
        (form(("picture", b"a")), FORM, 422),
        (form(*[("file", b"a")] * 10), FORM, 413),
        (form(), FORM, 422),
    ],
)
def test_unfit_forms_are_refused(
    models: Models, body: bytes, content_type: bytes, status: int
) -> None:
    with pytest.raises(ServingError) as refused:
        parsed(body, content_type, models["bands"])
    assert refused.value.status == status


@given(body=st.binary(max_size=300))
def test_any_bytes_give_files_or_one_error(models: Models, body: bytes) -> None:
    try:
        parsed(b"--x9x\r\n" + body + b"--", FORM, models["bands"])
    except ServingError as error:
        assert error.status in {400, 413, 422}
