"""Gradients along the way from an empty image to the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from qkv.data.dataset import UInt8Array
from qkv.inspection.log_odds import log_odds
from qkv.inspection.masked import FloatArray
from qkv.inspection.vision.attention import model_input
from qkv.inspection.vision.masked import CHUNK
from qkv.vision.classifier import VisionClassifier

STEPS = 64


@dataclass(frozen=True)
class PixelAttributions:
    """What each pixel adds to the log odds of a class.

    Attributes:
        values: float64 (channels, height, width).
        difference: log odds of the image less those of the empty image: what the values sum to
            once there are enough steps.
    """

    values: FloatArray
    difference: float

    @property
    def gap(self) -> float:
        """How far the sum of the values is from the difference: the error of the steps."""
        return float(self.values.sum()) - self.difference


def integrated_gradients(
    classifier: VisionClassifier,
    pixels: UInt8Array,
    empty: UInt8Array,
    label: int,
    *,
    steps: int = STEPS,
) -> PixelAttributions:
    """(x − x₀) ∫₀¹ ∇F(x₀ + α(x − x₀)) dα by the midpoint rule, F the log odds of a class.

    Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks", eq. 1. The values
    sum to F(x) − F(x₀) (completeness) up to the rule's error, which falls with the square of the
    steps.

    Args:
        classifier: whose temperature counts too.
        pixels: uint8 (channels, height, width), x.
        empty: the same shape, x₀: where nothing is.
        label: the explained class.
        steps: points on the way, at least one.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        end, start = model_input(classifier, pixels), model_input(classifier, empty)
        places = (torch.arange(steps, device=end.device) + 0.5) / steps
        total = torch.zeros(pixels.shape, dtype=torch.float64)
        for first in range(0, steps, CHUNK):
            part = places[first : first + CHUNK]
            images = (start + part.view(-1, 1, 1, 1) * (end - start)).requires_grad_()
            score = log_odds(classifier.model(images) / classifier.temperature, label).sum()
            total += torch.autograd.grad(score, images)[0].cpu().double().sum(dim=0)
    values: FloatArray = ((end - start)[0].cpu() * total / steps).numpy()
    ends = log_odds(classifier.logits(np.stack([empty, pixels])), label).double()
    return PixelAttributions(values, float(ends[1] - ends[0]))
