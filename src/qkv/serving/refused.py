"""Errors as the API answers them: JSON with a line on the problem and one on what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Send

from qkv.errors import QKVError
from qkv.serving.errors import ServingError

# An input, a method or a class that does not fit is the client's mistake.
_UNFIT = 422
_REMEDIES = {
    404: "see /openapi.json for what there is",
    405: "see the Allow header for what can be done here",
}


def add_error_handlers(app: FastAPI) -> None:
    """Have an application answer every error in the one form."""
    app.add_exception_handler(QKVError, _deliberate)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_parameters)


async def answer_error(error: QKVError, send: Send) -> None:
    """Answer an error from below the routes."""
    status, content, headers = _parts(error)
    named = {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(key.lower().encode(), value.encode()) for key, value in named.items()],
        }
    )
    await send({"type": "http.response.body", "body": content})


def _parts(error: QKVError) -> tuple[int, bytes, Mapping[str, str]]:
    content = _content(error.problem, error.remedy)
    if isinstance(error, ServingError):
        return error.status, content, error.headers
    return _UNFIT, content, {}


def _content(problem: str, remedy: str) -> bytes:
    lines = (" ".join(part.split()) for part in (problem, remedy))
    return json.dumps(dict(zip(("error", "remedy"), lines, strict=True))).encode()


def _answer(status: int, content: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        content,
        status_code=status,
        media_type="application/json",
        headers=None if headers is None else dict(headers),
    )


async def _deliberate(_: Request, error: Exception) -> Response:
    assert isinstance(error, QKVError)
    return _answer(*_parts(error))


async def _of_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail: Any = error.detail
    if isinstance(detail, dict) and "error" in detail:
        problem, remedy = str(detail["error"]), str(detail.get("remedy", ""))
    else:
        problem = str(detail)
        remedy = _REMEDIES.get(error.status_code, "see /openapi.json for what is expected")
    return _answer(error.status_code, _content(problem, remedy), error.headers)


async def _of_parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return _answer(
        _UNFIT, _content(f"{where}: {first['msg']}", f"correct {where}; see /openapi.json")
    )
