"""Predictions, explanations, and what attends to what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from qkv.errors import QKVError
from qkv.serving.errors import ServingError
from qkv.serving.models import ServedModel
from qkv.serving.predictors import Scores
from qkv.serving.request_inputs import MAX_TOP_K, read_input, read_inputs
from qkv.serving.routes.examples import examples_of
from qkv.serving.routes.requests import (
    ASKING_ERRORS,
    LOOKING_ERRORS,
    CancelOnDisconnect,
    as_json,
    body_of,
    described_body,
    engine_of,
    json_answer,
    one_input,
    served_model,
)
from qkv.serving.schemas import AttentionAnswer, ErrorAnswer, ExplanationAnswer, Score

router = APIRouter(prefix="/v1/models")

MAX_NAME = 256
# What an address may hold of a text; a longer one goes into a body.
MOST_QUERY_CHARACTERS = 2_000
Name = Annotated[str | None, Query(max_length=MAX_NAME)]
Number = Annotated[int | None, Query(ge=0, le=2**31 - 1)]


@dataclass(frozen=True)
class Place:
    """Whose attention is asked for, as the parameters of an address."""

    layer: Annotated[
        str | None,
        Query(
            pattern="^(head|[1-9][0-9]{0,5})$",
            description="Counted from 1, the lowest; `head`: the pooling of a text model. The last "
            "if left out.",
        ),
    ] = None
    head: Annotated[
        str,
        Query(
            pattern="^(mean|[0-9]{1,6})$", description="Counted from 0; `mean`: the mean of all."
        ),
    ] = "mean"
    query: Number = None
    whole: Annotated[bool, Query(alias="all")] = False


@router.post(
    "/{model_id}/predict",
    tags=["predict"],
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
    with CancelOnDisconnect(request.receive):
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


@router.post(
    "/{model_id}/explain",
    tags=["explain"],
    response_model=ExplanationAnswer,
    responses=ASKING_ERRORS,
    openapi_extra=described_body(several=False),
)
async def explain(
    request: Request,
    model_id: str,
    method: Name = None,
    label: Name = None,
) -> Response:
    """How much each part of one input speaks for a class, and how far to believe that.

    The body is as for predictions, with one input. `method`: one of the model's `methods`, its
    default if it is left out. `label`: the class to explain, the predicted one if it is left out.
    """
    model = served_model(request, model_id)
    given, _ = await one_input(request, model)
    with CancelOnDisconnect(request.receive):
        document = await engine_of(request).explain(model, given, method=method, label=label)
    return json_answer(as_json(document))


@router.post(
    "/{model_id}/attention",
    tags=["attention"],
    response_model=AttentionAnswer,
    responses=ASKING_ERRORS,
    openapi_extra=described_body(several=False),
)
async def attention_of_body(
    request: Request, model_id: str, place: Annotated[Place, Depends()]
) -> Response:
    """How much a patch or a word attends to the others.

    The body is as for predictions, with one input. `layer`: one of the model's, counted from
    1, the lowest; its last if it is left out. `head`: a number from 0, or `mean`. `query`: a patch
    or a word, from 0; without it, an image answers for its class token, or with `all` for every
    token, and a text for its pool or for all of its words.
    """
    model = served_model(request, model_id)
    _, read = await one_input(request, model)
    return await _attention(request, model, read, place)


@router.get(
    "/{model_id}/attention",
    tags=["attention"],
    response_model=AttentionAnswer,
    responses={**LOOKING_ERRORS, 429: ASKING_ERRORS[429]},
)
async def attention_of_example(
    request: Request,
    model_id: str,
    place: Annotated[Place, Depends()],
    example: Number = None,
    text: Annotated[str | None, Query(max_length=MOST_QUERY_CHARACTERS)] = None,
) -> Response:
    """How much a patch or a word attends to the others, in a test example or a short text.

    `example`: its index in the test split; or `text`. The rest is as with a body.
    """
    model = served_model(request, model_id)
    if (example is None) == (text is None):
        raise ServingError(
            422, "neither or both of example and text are given", remedy="give one of them"
        )
    read: Any = text
    if example is not None:
        examples = await run_in_threadpool(examples_of, request, model_id)
        read = await run_in_threadpool(examples.content, example)
        if read is None:
            raise ServingError(
                404, f"there is no example {example} to look at", remedy="list the examples"
            )
    elif model.task != "text":
        raise ServingError(422, f"{model.id} reads images", remedy="give an example")
    if isinstance(read, str):
        read = await read_input(read, model, request.app.state.settings)
    return await _attention(request, model, read, place)


async def _attention(request: Request, model: ServedModel, read: Any, place: Place) -> Response:
    predictor: Any = model.predictor
    with CancelOnDisconnect(request.receive):
        content = await engine_of(request).look(
            lambda: as_json(predictor.attention(read, **vars(place)))
        )
    return json_answer(content)
