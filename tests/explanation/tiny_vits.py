"""Classifiers of random weights, of every kind that inspection must read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qkv.data.dataset import UInt8Array
from qkv.vision.classifier import Preprocessing, VisionClassifier
from qkv.vision.vit import ViT, ViTSettings

NAMES = ("coat", "shoe", "bag")
KINDS: list[dict[str, Any]] = [
    {},
    {"attention": "linear"},
    {"pooling": "mean"},
    {"attention": "linear", "pooling": "mean", "channels": 1},
]
SIZE, PATCH, GRID = 12, 4, 3


def tiny_vit(*, temperature: float = 1.0, **changes: Any) -> VisionClassifier:
    """Three blocks of two heads on 3×3 patches; answers differ by input more than chance would."""
    torch.manual_seed(5)
    values = {
        "image_size": SIZE, "patch_size": PATCH, "channels": 3, "num_classes": 3, "dim": 8,
        "depth": 3, "num_heads": 2, "head_dim": 4, "mlp_dim": 12, **changes,
    }  # fmt: skip
    model = ViT(ViTSettings.parse(values, where="test"))
    with torch.no_grad():  # as they are drawn, small maps hardly tell inputs apart
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and parameter.ndim == 2:
                parameter.mul_(2.5)
    preprocessing = Preprocessing.parse(
        {"image_size": SIZE, "channels": values["channels"]}, where="test"
    )
    return VisionClassifier(
        model, preprocessing, NAMES, torch.device("cpu"), temperature=temperature
    )


def pixels(seed: int = 1, channels: int = 3, size: int = SIZE) -> UInt8Array:
    """uint8 (channels, size, size) of noise."""
    return np.random.default_rng(seed).integers(0, 256, (channels, size, size), dtype=np.uint8)


def pixels_for(classifier: VisionClassifier, seed: int = 1) -> UInt8Array:
    return pixels(seed, classifier.preprocessing.channels)
