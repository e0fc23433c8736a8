"""Attention as far as it serves a class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from qkv.data.dataset import UInt8Array
from qkv.inspection.log_odds import log_odds
from qkv.inspection.masked import FloatArray
from qkv.inspection.vision.attention import model_input, pooled_row
from qkv.vision.classifier import VisionClassifier


def relevance(
    layers: Sequence[Float[Tensor, "heads tokens tokens"]],
    gradients: Sequence[Float[Tensor, "heads tokens tokens"]],
) -> Float[Tensor, "tokens tokens"]:
    """How much each token of the last layer owes to each first token, for one class.

    In every layer the weights A count by their gradients and where that is positive, in the mean
    over heads: Ā = mean_h max(∇A ⊙ A, 0). From R = I on, each layer adds what passes through it:
    R ← R + Ā R (Chefer, Gur and Wolf 2021, "Generic Attention-model Explainability for Interpreting
    Bi-Modal and Encoder-Decoder Transformers", eq. 5 and 6).

    Args:
        layers: attention weights, the first layer first; at least one.
        gradients: of the explained score with respect to them.
    """
    tokens = layers[0].shape[-1]
    owed = torch.eye(tokens, dtype=layers[0].dtype, device=layers[0].device)
    for weights, gradient in zip(layers, gradients, strict=True):
        owed = owed + (gradient * weights).clamp(min=0).mean(dim=0) @ owed
    return owed


def relevance_map(classifier: VisionClassifier, pixels: UInt8Array, label: int) -> FloatArray:
    """What the head's input owes to each patch where it speaks for a class: float64 (patches,).

    The score whose gradients count is the log odds of the class.

    Args:
        classifier: with either kernel.
        pixels: uint8 (channels, image_size, image_size).
        label: the explained class.
    """
    model = classifier.model
    with torch.inference_mode(mode=False), torch.enable_grad():
        # The image asks for a gradient so that the weights have one even if the model is frozen.
        images = model_input(classifier, pixels).requires_grad_()
        logits, named = model.forward_with_intermediates(images, range(len(model.blocks)))
        layers = [named[f"attention_{layer}"] for layer in range(len(model.blocks))]
        gradients = torch.autograd.grad(log_odds(logits, label).sum(), layers)
    owed = relevance([x[0].detach() for x in layers], [x[0] for x in gradients])
    patches: FloatArray = pooled_row(classifier, owed).cpu().double().numpy()
    return patches
