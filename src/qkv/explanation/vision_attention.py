"""Attention weights of a ViT, of any layer and head and for either kernel, and maps from them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from qkv.data.dataset import UInt8Array
from qkv.errors import DataError
from qkv.explanation.faithfulness import FloatArray
from qkv.explanation.integrated_gradients import log_odds
from qkv.vision.classifier import VisionClassifier

Float32Array = npt.NDArray[np.float32]


def attention_weights(classifier: VisionClassifier, pixels: UInt8Array, layer: int) -> Float32Array:
    """The weights of one layer on an image.

    Args:
        classifier: with either kernel; linear attention's are those that it implies.
        pixels: uint8 (channels, image_size, image_size), as `VisionClassifier.read` gives them.
        layer: from 0.

    Returns:
        float32 (heads, tokens, tokens): row i says how token i mixes all tokens, and sums to one.
        Patches come row by row, after the class token if the model has one.

    Raises:
        DataError: there is no such layer.
    """
    weights: Float32Array = weights_of_layers(classifier, pixels, [layer])[0].cpu().numpy()
    return weights


def attention_map(
    classifier: VisionClassifier,
    pixels: UInt8Array,
    layer: int,
    head: int | None = None,
    query: int | None = None,
) -> Float32Array:
    """How much a patch attends to every patch.

    Args:
        classifier: as in `attention_weights`.
        pixels: likewise.
        layer: from 0.
        head: from 0; None: the mean over heads.
        query: the patch that attends, counted row by row; None: the class token or, in a model
            without one, the mean over all patches.

    Returns:
        float32 (rows, columns) of patches. With a class token they sum to less than one: the rest
        is what goes to that token.

    Raises:
        DataError: there is no such layer, head or patch.
    """
    weights = torch.from_numpy(attention_weights(classifier, pixels, layer))
    if head is not None:
        _check("head", head, len(weights))
    matrix = weights.mean(dim=0) if head is None else weights[head]
    side = classifier.model.settings.grid_size
    if query is None:
        row = pooled_row(classifier, matrix)
    else:
        _check("patch", query, side**2)
        first = _class_tokens(classifier)
        row = matrix[first + query, first:]
    grid: Float32Array = row.view(side, side).numpy()
    return grid


def pooled_row(classifier: VisionClassifier, matrix: Tensor) -> Tensor:
    """What the head's input takes from each patch: (tokens, tokens) to (patches,).

    That is the class token's row without its own column, or the mean row of a model without one.
    """
    first = _class_tokens(classifier)
    return matrix[0, 1:] if first else matrix.mean(dim=0)


@torch.inference_mode()
def weights_of_layers(
    classifier: VisionClassifier, pixels: UInt8Array, layers: Collection[int] | None = None
) -> list[Tensor]:
    """Float32 (heads, tokens, tokens) of several layers, or of all, from one pass.

    Raises:
        DataError: there is no such layer.
    """
    depth = classifier.model.settings.depth
    layers = range(depth) if layers is None else layers
    for layer in layers:
        _check("layer", layer, depth)
    _, named = classifier.model.forward_with_intermediates(model_input(classifier, pixels), layers)
    return [named[f"attention_{layer}"][0].float() for layer in layers]


def model_input(classifier: VisionClassifier, pixels: UInt8Array) -> Tensor:
    """One image as the model reads it: float32 (1, channels, image_size, image_size)."""
    images = torch.from_numpy(pixels[None].copy()).to(classifier.device)
    return classifier.preprocessing.normalise(images)


def _class_tokens(classifier: VisionClassifier) -> int:
    return int(classifier.model.class_token is not None)


def _check(what: str, number: int, count: int) -> None:
    if not 0 <= number < count:
        raise DataError(f"there is no {what} {number}", remedy=f"name one from 0 to {count - 1}")


def relevance(
    layers: Sequence[Float[Tensor, "heads tokens tokens"]],
    gradients: Sequence[Float[Tensor, "heads tokens tokens"]],
) -> Float[Tensor, "tokens tokens"]:
    """How relevant each input token is to each token of the last layer, for one class.

    In every layer the weights A count by their gradients and where that is positive, in the mean
    over heads: Ā = mean_h max(∇A ⊙ A, 0). From R = I on, each layer adds what passes through it:
    R ← R + Ā R (Chefer, Gur and Wolf 2021, "Generic Attention-model Explainability for Interpreting
    Bi-Modal and Encoder-Decoder Transformers", eq. 5 and 6).
    """
    tokens = layers[0].shape[-1]
    owed = torch.eye(tokens, dtype=layers[0].dtype, device=layers[0].device)
    for weights, gradient in zip(layers, gradients, strict=True):
        owed = owed + (gradient * weights).clamp(min=0).mean(dim=0) @ owed
    return owed


def relevance_map(classifier: VisionClassifier, pixels: UInt8Array, label: int) -> FloatArray:
    """`relevance` of each patch to what the head reads, for a class: float64 (patches,).

    The gradients are those of the log odds of the class.
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


def rollout(
    layers: Sequence[Float[Tensor, "heads tokens tokens"]],
) -> Float[Tensor, "tokens tokens"]:
    """How much of each input token reaches each token of the last layer.

    A layer passes on half of what it attends to, in the mean over heads, and half of what it had,
    for the residual connection; layers multiply: Π ½(mean_h A + I), the last layer leftmost (Abnar
    and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3). Rows sum to one. It
    is the same for every class.
    """
    tokens = layers[0].shape[-1]
    own = torch.eye(tokens, dtype=layers[0].dtype, device=layers[0].device)
    flow = own
    for weights in layers:
        flow = (weights.mean(dim=0) + own) / 2 @ flow
    return flow


def rollout_map(classifier: VisionClassifier, pixels: UInt8Array) -> FloatArray:
    """What the head's input takes from each patch by attention rollout: float64 (patches,)."""
    flow = rollout(weights_of_layers(classifier, pixels))
    patches: FloatArray = pooled_row(classifier, flow).cpu().double().numpy()
    return patches
