"""What attends to what: the weights of any layer and head, for either kernel."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qkv.data.dataset import UInt8Array
from qkv.errors import DataError
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
