"""How a server computes predictions: what an input becomes, and what many give together."""

from collections.abc import Callable
from typing import Any

from qkv.predictions import Classifier
from qkv.serving.predictors.images import ImagePredictor
from qkv.serving.predictors.scores import Scores, ranked
from qkv.serving.predictors.texts import ReadText, TextPredictor

__all__ = ["ImagePredictor", "Predictor", "ReadText", "Scores", "TextPredictor", "predictor_of"]
__all__ += ["ranked"]

Predictor = ImagePredictor | TextPredictor
PREDICTORS: dict[str, Callable[[Any], Predictor]] = {
    "vision": ImagePredictor,
    "text": TextPredictor,
}


def predictor_of(classifier: Classifier[Any, Any]) -> Predictor:
    """The predictor of a classifier; it loads what is loaded late."""
    return PREDICTORS[classifier.task](classifier)
