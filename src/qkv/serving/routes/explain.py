"""Explanations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from qkv.serving.presence import WhilePresent
from qkv.serving.routes.asked import (
    ASKING_ERRORS,
    as_json,
    described_body,
    engine_of,
    json_answer,
    one_input,
    served_model,
)
from qkv.serving.schemas import ExplanationAnswer

router = APIRouter(prefix="/v1/models", tags=["explain"])

MAX_NAME = 256


@router.post(
    "/{model_id}/explain",
    response_model=ExplanationAnswer,
    responses=ASKING_ERRORS,
    openapi_extra=described_body(several=False),
)
async def explain(
    request: Request,
    model_id: str,
    method: Annotated[str | None, Query(max_length=MAX_NAME)] = None,
    label: Annotated[str | None, Query(max_length=MAX_NAME)] = None,
) -> Response:
    """How much each part of one input speaks for a class, and how far to believe that.

    The body is as for predictions, with one input. `method`: one of the model's `methods`, its
    default if it is left out. `label`: the class to explain, the predicted one if it is left out.
    """
    model = served_model(request, model_id)
    given, _ = await one_input(request, model)
    with WhilePresent(request.receive):
        document = await engine_of(request).explain(model, given, method=method, label=label)
    return json_answer(as_json(document))
