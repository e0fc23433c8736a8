"""The test examples of a model: lists, one by itself, and its picture."""

from __future__ import annotations

import threading
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from qkv.serving.errors import ServingError
from qkv.serving.routes.requests import LOOKING_ERRORS, served_model
from qkv.serving.run_examples import Content, Order, RunExamples, SavedPredictions, as_png
from qkv.serving.schemas import Answer, Score

router = APIRouter(prefix="/v1/models/{model_id}/examples", tags=["examples"])

MOST_EXAMPLES = 200
EXCERPT_LETTERS = 280
_LARGEST_INDEX = 2**53 - 1
# The address of a picture changes with its content, so a copy of it never goes stale.
_KEEP_FOREVER = "private, max-age=604800, immutable"
_LOCK = threading.Lock()

Index = Annotated[int, Path(ge=0, le=_LARGEST_INDEX)]
ClassName = Annotated[str | None, Query(max_length=1000)]


class Example(Answer):
    """A test example and what was predicted of it."""

    index: int
    """Its place in the test split."""
    label: str
    """Its true class."""
    predicted: str
    """The class of the largest probability."""
    probability: float
    """That probability."""
    image: str | None = None
    """Where its picture is, of an image."""
    text: str | None = None
    """The text, of a text; in a list, its beginning."""
    excerpt: bool | None = None
    """Whether the text goes on."""


class WholeExample(Example):
    """An example with every class's probability, and its whole text."""

    scores: list[Score]
    """By falling probability."""


class ExamplePage(Answer):
    """Some of the examples that fit."""

    total: int
    """How many fit and can be shown."""
    offset: int
    """How many of them come before these."""
    complete: bool
    """False where the data set is no longer on the server, so that only a few can be shown."""
    examples: list[Example]
    """These."""


def examples_of(request: Request, model_id: str) -> RunExamples:
    """The test examples of a served model, found once.

    Raises:
        ServingError: 404, there is no such model.
    """
    model = served_model(request, model_id)
    with _LOCK:
        found: dict[str, RunExamples] = request.app.state.run_examples
        if model_id not in found:
            found[model_id] = RunExamples(model.run, model.class_names)
        return found[model_id]


@router.get(
    "", response_model=ExamplePage, response_model_exclude_none=True, responses=LOOKING_ERRORS
)
def examples(
    request: Request,
    model_id: str,
    split: Literal["test"] = "test",  # noqa: ARG001 - there is but one, and it may be named
    offset: Annotated[int, Query(ge=0, le=_LARGEST_INDEX)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_EXAMPLES)] = 50,
    truth: ClassName = None,
    predicted: ClassName = None,
    wrong: bool = False,
    order: Order = "index",
) -> dict[str, Any]:
    """Test examples: all, of a true class, with a prediction, or only those that are wrong.

    `order=confidence` has the surest predictions first.
    """
    known = examples_of(request, model_id)
    found = known.find(truth=truth, predicted=predicted, wrong=wrong, order=order)
    predictions = known.predictions
    shown = found[offset : offset + limit].tolist()
    return {
        "total": len(found),
        "offset": offset,
        "complete": known.complete,
        "examples": [
            example_document(model_id, predictions, index, known.content(index), excerpt=True)
            for index in shown
            if predictions is not None
        ],
    }


@router.get(
    "/{index}",
    response_model=WholeExample,
    response_model_exclude_none=True,
    responses=LOOKING_ERRORS,
)
def example(request: Request, model_id: str, index: Index) -> dict[str, Any]:
    """One test example, with its whole text and the probability of every class."""
    known = examples_of(request, model_id)
    content = known.content(index)
    predictions = known.predictions
    if content is None or predictions is None:
        raise _no_example(index)
    shares = predictions.probabilities[index]
    return {
        **example_document(model_id, predictions, index, content, excerpt=False),
        "scores": [
            {"label": known.class_names[number], "score": float(shares[number])}
            for number in (-shares).argsort(kind="stable").tolist()
        ],
    }


@router.get(
    "/{index}/image",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string"}}}}, **LOOKING_ERRORS},
)
def image(request: Request, model_id: str, index: Index) -> Response:
    """The picture of a test example as the model sees it, a PNG."""
    content = examples_of(request, model_id).content(index)
    if content is None or isinstance(content, str):
        raise _no_example(index)
    return Response(
        as_png(content), media_type="image/png", headers={"Cache-Control": _KEEP_FOREVER}
    )


def example_document(
    model_id: str,
    predictions: SavedPredictions,
    index: int,
    content: Content | None,
    *,
    excerpt: bool,
) -> dict[str, Any]:
    """The values of an `Example`; `excerpt`: leave out the end of a long text."""
    names = predictions.class_names
    predicted = predictions.predicted[index]
    document: dict[str, Any] = {
        "index": index,
        "label": names[predictions.labels[index]],
        "predicted": names[predicted],
        "probability": float(predictions.probabilities[index, predicted]),
    }
    if isinstance(content, str):
        # A lone surrogate has no place in JSON of UTF-8.
        text = content.encode("utf-8", "replace").decode()
        cut = excerpt and len(text) > EXCERPT_LETTERS
        document["text"] = text[:EXCERPT_LETTERS] if cut else text
        document["excerpt"] = cut
    elif content is not None:
        place = f"/v1/models/{model_id}/examples/{index}/image"
        document["image"] = f"{place}?version={predictions.version}"
    return document


def _no_example(index: int) -> ServingError:
    return ServingError(
        404,
        f"there is no test example {index} to show",
        remedy="ask for the list of examples, which says what is there",
    )
