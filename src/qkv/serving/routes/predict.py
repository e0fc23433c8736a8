"""Predictions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from qkv.errors import QKVError
from qkv.serving.inputs import MAX_TOP_K, read_inputs
from qkv.serving.predictors import Scores
from qkv.serving.presence import WhilePresent
from qkv.serving.routes.asked import (
    ASKING_ERRORS,
    as_json,
    body_of,
    described_body,
    engine_of,
    json_answer,
    served_model,
)
from qkv.serving.schemas import ErrorAnswer, Score

router = APIRouter(prefix="/v1/models", tags=["predict"])


@router.post(
    "/{model_id}/predict",
    response_model=list[Score] | list[list[Score] | ErrorAnswer],
    responses=ASKING_ERRORS,
    openapi_extra=described_body(several=True),
)
async def predict(
    request: Request,
    model_id: str,
    top_k: Annotated[int | None, Query(ge=1, le=MAX_TOP_K)] = None,
) -> Response:
    """The probabilities of the classes, the largest first.

    The body is the bytes of one image (`image/*`); or one or more files called `file` in
    `multipart/form-data`; or JSON with `inputs`, a string or a list of strings: texts, or images
    in base64. One input gets one list, several get a list of lists. Of several, one that cannot be
    read has an error in its place.

    `top_k`: how many classes to answer with; all if it is left out.
    """
    model = served_model(request, model_id)
    body = await body_of(request, model)
    with WhilePresent(request.receive):
        read = await read_inputs(body, model, request.app.state.settings)
        fit = [item for item in read if not isinstance(item, QKVError)]
        computed = iter(await engine_of(request).predict(model, fit) if fit else ())
    answers = [item if isinstance(item, QKVError) else next(computed) for item in read]
    kept = body.top_k if body.top_k is not None else top_k
    parts = [_written(answer, model.predictor.writer.write, kept) for answer in answers]
    if body.several:
        return json_answer(f"[{','.join(parts)}]".encode())
    if isinstance(answers[0], Exception):
        raise answers[0]
    return json_answer(parts[0].encode())


def _written(answer: Scores | Exception, write: Any, top_k: int | None) -> str:
    if isinstance(answer, Scores):
        written: str = write(answer, top_k)
        return written
    if isinstance(answer, QKVError):
        return as_json({"error": answer.problem, "remedy": answer.remedy}).decode()
    raise answer
