"""How the server is, which models it has, what each can do, and what its run says of itself."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from qkv.explanation.explain import default_method, methods_of
from qkv.serving.metrics import CONTENT_TYPE
from qkv.serving.models import Models, ServedModel
from qkv.serving.routes.examples import Example, example_document, examples_of
from qkv.serving.routes.requests import LOOKING_ERRORS, as_json, served_model
from qkv.serving.run_report import report_document
from qkv.serving.schemas import Answer, Health, ModelDetails, ModelList
from qkv.serving.settings import ServingSettings

router = APIRouter()

MOST_MISTAKES = 16
_LIMITS = {
    "max_body_bytes",
    "max_inputs",
    "max_pixels",
    "max_text_characters",
    "max_request_tokens",
}
_OF_TEST = ("accuracy", "accuracy_interval_95", "loss", "examples")


class Curves(Answer):
    """Quantities by name, each a list; null where there is no finite number."""

    epochs: dict[str, list[float | None]]
    steps: dict[str, list[float | None]]


class Report(Answer):
    """A run, for a reader."""

    card_markdown: str
    """The model card, without its front matter."""
    record: dict[str, Any]
    """Chosen entries of run.json."""
    curves: Curves
    """Of training: by epoch, and by step."""
    confusion_matrix: list[list[int]] | None
    """Test examples by true class (rows) and prediction (columns); null without a test."""
    calibration: dict[str, Any] | None
    """Expected calibration error, Brier score, and the bins of a reliability diagram."""
    class_names: list[str]
    """In label order."""
    mistakes: list[Example]
    """The surest wrong predictions that the run keeps."""


@router.get("/healthz", tags=["health"], response_model=Health)
async def alive() -> dict[str, str]:
    """200 while the process answers at all."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    tags=["health"],
    response_model=Health,
    responses={503: {"model": Health, "description": "It is starting or stopping."}},
)
async def ready(request: Request) -> Response:
    """200 while it answers requests; 503 until all models are warm, and once it is stopping."""
    state = request.app.state
    status = "draining" if state.active_requests.draining else state.engine.state
    code = 200 if status == "ready" else 503
    return Response(as_json({"status": status}), code, media_type="application/json")


@router.get(
    "/metrics",
    tags=["health"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Counts and times in the text form of Prometheus."""
    content: Any = request.app.state.metrics.render()
    return Response(content, headers={"Content-Type": CONTENT_TYPE})


@router.get("/v1/models", tags=["models"], response_model=ModelList, responses=LOOKING_ERRORS)
async def models(request: Request) -> dict[str, Any]:
    """All served models."""
    served: Models = request.app.state.models
    return {"models": [model.summary() for model in served.values()]}


@router.get(
    "/v1/models/{model_id}", tags=["models"], response_model=ModelDetails, responses=LOOKING_ERRORS
)
async def model(request: Request, model_id: str) -> dict[str, Any]:
    """One model: what it reads, how it can be explained, and what its run says of it."""
    return model_details(served_model(request, model_id), request.app.state.settings)


def model_details(model: ServedModel, settings: ServingSettings) -> dict[str, Any]:
    """The values of a `ModelDetails`."""
    return {
        **model.summary(),
        "methods": list(methods_of(model.classifier)),
        "default_method": default_method(model.classifier),
        "input": model.predictor.input_shape(),
        "attention": model.predictor.attention_choices(),
        "limits": settings.model_dump(include=_LIMITS),
        "card": _card(model),
    }


def _card(model: ServedModel) -> dict[str, Any]:
    record = model.record
    test = record.get("test") or {}
    return {
        "parameters": record.get("parameters"),
        "seed": record.get("seed"),
        "train_seconds": record.get("train_seconds"),
        "data": (record.get("data") or {}).get("name"),
        "test": {name: test[name] for name in _OF_TEST if name in test} or None,
    }


@router.get(
    "/v1/models/{model_id}/report", tags=["report"], response_model=Report, responses=LOOKING_ERRORS
)
def report(request: Request, model_id: str) -> dict[str, Any]:
    """Card, facts, curves, confusion matrix, calibration and surest mistakes of a run."""
    model = served_model(request, model_id)
    return {**report_document(model.run), "mistakes": _mistakes(request, model_id)}


def _mistakes(request: Request, model_id: str) -> list[dict[str, Any]]:
    # Of the run folder alone: nobody should wait for a data set before the first curve is drawn.
    examples = examples_of(request, model_id)
    predictions = examples.predictions
    if predictions is None:
        return []
    kept = [i for i in predictions.most_confident_mistakes().tolist() if i in examples.kept]
    return [
        example_document(model_id, predictions, index, examples.kept[index], excerpt=True)
        for index in kept[:MOST_MISTAKES]
    ]
