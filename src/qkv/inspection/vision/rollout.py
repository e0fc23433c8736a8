"""Attention through all layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from qkv.data.dataset import UInt8Array
from qkv.inspection.masked import FloatArray
from qkv.inspection.vision.attention import pooled_row, weights_of_layers
from qkv.vision.classifier import VisionClassifier


def rollout(
    layers: Sequence[Float[Tensor, "heads tokens tokens"]],
) -> Float[Tensor, "tokens tokens"]:
    """How much of each token's first state comes down to each token of the last layer.

    A layer passes on half of what it attends to, in the mean over heads, and half of what it had,
    for the residual connection; layers multiply: Π ½(mean_h A + I), the last layer leftmost (Abnar
    and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3). Rows sum to one. It
    is the same for every class.

    Args:
        layers: attention weights, the first layer first; at least one.
    """
    tokens = layers[0].shape[-1]
    own = torch.eye(tokens, dtype=layers[0].dtype, device=layers[0].device)
    flow = own
    for weights in layers:
        flow = (weights.mean(dim=0) + own) / 2 @ flow
    return flow


def rollout_map(classifier: VisionClassifier, pixels: UInt8Array) -> FloatArray:
    """What the head's input takes from each patch by attention rollout: float64 (patches,).

    Args:
        classifier: with either kernel.
        pixels: uint8 (channels, image_size, image_size).
    """
    flow = rollout(weights_of_layers(classifier, pixels))
    patches: FloatArray = pooled_row(classifier, flow).cpu().double().numpy()
    return patches
