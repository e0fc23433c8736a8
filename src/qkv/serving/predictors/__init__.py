"""How a server computes predictions: what an input becomes, and what many give together."""

from qkv.loading import Classifier
from qkv.serving.predictors.images import ImagePredictor
from qkv.serving.predictors.scores import Scores, ranked
from qkv.serving.predictors.texts import ReadText, TextPredictor
from qkv.vision.classifier import VisionClassifier

__all__ = ["ImagePredictor", "Predictor", "ReadText", "Scores", "TextPredictor", "predictor_of"]
__all__ += ["ranked"]

Predictor = ImagePredictor | TextPredictor


def predictor_of(classifier: Classifier) -> Predictor:
    """The predictor of a classifier; it loads what is loaded late."""
    if isinstance(classifier, VisionClassifier):
        return ImagePredictor(classifier)
    return TextPredictor(classifier)
