"""Which models there are, and what each can do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from qkv.explanation.explain import default_method, methods_of
from qkv.explanation.text_attention import attention_choices
from qkv.serving.models import Models, ServedModel
from qkv.serving.predictors import ImagePredictor
from qkv.serving.routes.asked import LOOKING_ERRORS, served_model
from qkv.serving.schemas import ModelDetails, ModelList
from qkv.serving.settings import ServingSettings

router = APIRouter(prefix="/v1/models", tags=["models"])

_LIMITS = {"max_body_bytes", "max_inputs", "max_pixels", "max_text_characters"}
_LIMITS |= {"max_request_tokens"}
_OF_TEST = ("accuracy", "accuracy_interval_95", "loss", "examples")


@router.get("", response_model=ModelList, responses=LOOKING_ERRORS)
async def models(request: Request) -> dict[str, Any]:
    """All served models."""
    served: Models = request.app.state.models
    return {"models": [model.summary() for model in served.values()]}


@router.get("/{model_id}", response_model=ModelDetails, responses=LOOKING_ERRORS)
async def model(request: Request, model_id: str) -> dict[str, Any]:
    """One model: what it reads, how it can be explained, and what its run says of it."""
    return model_details(served_model(request, model_id), request.app.state.settings)


def model_details(model: ServedModel, settings: ServingSettings) -> dict[str, Any]:
    """The values of a `ModelDetails`."""
    predictor = model.predictor
    if isinstance(predictor, ImagePredictor):
        vit = predictor.classifier.model.settings
        shape = {
            "image_size": vit.image_size,
            "channels": vit.channels,
            "patch_size": vit.patch_size,
            "grid_size": vit.grid_size,
        }
        attention: dict[str, Any] = {
            "layers": list(range(1, vit.depth + 1)),
            "heads": vit.num_heads,
            "class_token": predictor.classifier.model.class_token is not None,
            "pool": False,
            "pool_heads": 0,
        }
    else:
        shape = {"max_tokens": predictor.max_tokens}
        choices = attention_choices(predictor.classifier)
        attention = {
            "layers": [*choices["layers"], *(["head"] if choices["pool"] else [])],
            "heads": choices["heads"],
            "class_token": False,
            "pool": choices["pool"],
            "pool_heads": choices["pool_heads"],
        }
    return {
        **model.summary(),
        "methods": list(methods_of(model.classifier)),
        "default_method": default_method(model.classifier),
        "input": shape,
        "attention": attention,
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
