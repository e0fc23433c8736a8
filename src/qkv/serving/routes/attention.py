"""What attends to what."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from qkv.serving.attention_answers import image_attention, text_attention_answer
from qkv.serving.errors import ServingError
from qkv.serving.inputs import require_text
from qkv.serving.models import ServedModel
from qkv.serving.predictors import ImagePredictor, ReadText
from qkv.serving.presence import WhilePresent
from qkv.serving.routes.asked import (
    ASKING_ERRORS,
    LOOKING_ERRORS,
    as_json,
    described_body,
    engine_of,
    json_answer,
    one_input,
    served_model,
)
from qkv.serving.routes.examples import gallery_of
from qkv.serving.schemas import AttentionAnswer

router = APIRouter(prefix="/v1/models", tags=["attention"])

_LARGEST = 2**31 - 1
# What an address may hold of a text; a longer one goes into a body.
MOST_QUERY_CHARACTERS = 2_000
Layer = Annotated[
    str | None,
    Query(
        pattern="^(head|[1-9][0-9]{0,5})$",
        description="Counted from 1, the lowest; `head`: the pooling of a text model. The last if "
        "left out.",
    ),
]
Head = Annotated[
    str,
    Query(pattern="^(mean|[0-9]{1,6})$", description="Counted from 0; `mean`: the mean of all."),
]
Number = Annotated[int | None, Query(ge=0, le=_LARGEST)]
All = Annotated[bool, Query(alias="all")]


@router.post(
    "/{model_id}/attention",
    response_model=AttentionAnswer,
    responses=ASKING_ERRORS,
    openapi_extra=described_body(several=False),
)
async def attention_of_body(
    request: Request,
    model_id: str,
    layer: Layer = None,
    head: Head = "mean",
    query: Number = None,
    whole: All = False,
) -> Response:
    """How much a patch or a word attends to the others.

    The body is as for predictions, with one input. `layer`: one of the model's, counted from
    1, the lowest; its last if it is left out. `head`: a number from 0, or `mean`. `query`: a patch
    or a word, from 0; without it, an image answers for its class token, or with `all` for every
    token, and a text for its pool or for all of its words.
    """
    model = served_model(request, model_id)
    _, read = await one_input(request, model)
    return await _attention(request, model, read, layer=layer, head=head, query=query, whole=whole)


@router.get(
    "/{model_id}/attention",
    response_model=AttentionAnswer,
    responses={**LOOKING_ERRORS, 429: ASKING_ERRORS[429]},
)
async def attention_of_example(
    request: Request,
    model_id: str,
    example: Number = None,
    text: Annotated[str | None, Query(max_length=MOST_QUERY_CHARACTERS)] = None,
    layer: Layer = None,
    head: Head = "mean",
    query: Number = None,
    whole: All = False,
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
        gallery = await run_in_threadpool(gallery_of, request, model_id)
        read = await run_in_threadpool(gallery.content, example)
        if read is None:
            raise ServingError(
                404, f"there is no example {example} to look at", remedy="list the examples"
            )
    elif model.task != "text":
        raise ServingError(422, f"{model.id} reads images", remedy="give an example")
    if isinstance(read, str) and not isinstance(model.predictor, ImagePredictor):
        require_text(read, request.app.state.settings.max_text_characters)
        read = await run_in_threadpool(model.predictor.read, read)
    return await _attention(request, model, read, layer=layer, head=head, query=query, whole=whole)


async def _attention(
    request: Request,
    model: ServedModel,
    read: Any,
    *,
    layer: str | None,
    head: str,
    query: int | None,
    whole: bool,
) -> Response:
    predictor = model.predictor
    find: partial[dict[str, Any]]
    if isinstance(predictor, ImagePredictor):
        find = partial(image_attention, predictor.classifier, read, whole=whole)
    else:
        assert isinstance(read, ReadText)
        find = partial(text_attention_answer, predictor.classifier, read.text)
    find = partial(find, layer=layer, head=head, query=query)
    with WhilePresent(request.receive):
        content = await engine_of(request).look(lambda: as_json(find()))
    return json_answer(content)
