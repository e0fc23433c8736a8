"""From stored pixels to what a model reads."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from qkv.settings import Settings


class Preprocessing(Settings):
    """How pixels become model input; saved with the model, so that answers can be repeated."""

    image_size: int = Field(ge=1, le=1024)
    """Side of the square input, in pixels; files are resized to it and centre-cropped."""
    channels: Literal[1, 3]
    """1 grey, 3 colour."""
    mean: float = Field(default=0.5, ge=0.0, le=1.0)
    """Subtracted from pixels scaled to [0, 1]."""
    std: float = Field(default=0.5, gt=0.0, le=1.0)
    """Divides after the mean is subtracted."""

    def normalise(
        self, images: UInt8[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """(x/255 − mean)/std in float32."""
        scale = 1.0 / (255.0 * self.std)
        return images.to(torch.float32).mul_(scale).sub_(self.mean / self.std)
