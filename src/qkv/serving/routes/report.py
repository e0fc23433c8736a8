"""What a run says of itself, with its surest mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from qkv.serving.report import report_document
from qkv.serving.routes.asked import LOOKING_ERRORS, served_model
from qkv.serving.routes.examples import Example, example_document, gallery_of
from qkv.serving.schemas import Answer

router = APIRouter(prefix="/v1/models/{model_id}/report", tags=["report"])

MOST_MISTAKES = 16


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


@router.get("", response_model=Report, responses=LOOKING_ERRORS)
def report(request: Request, model_id: str) -> dict[str, Any]:
    """Card, facts, curves, confusion matrix, calibration and surest mistakes of a run."""
    model = served_model(request, model_id)
    return {**report_document(model.run), "mistakes": _mistakes(request, model_id)}


def _mistakes(request: Request, model_id: str) -> list[dict[str, Any]]:
    # Of the run folder alone: nobody should wait for a data set before the first curve is drawn.
    gallery = gallery_of(request, model_id)
    predictions = gallery.predictions
    if predictions is None:
        return []
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    surest = [i for i in predictions.ordered(wrong).tolist() if i in gallery.kept]
    return [
        example_document(model_id, predictions, index, gallery.kept[index], excerpt=True)
        for index in surest[:MOST_MISTAKES]
    ]
