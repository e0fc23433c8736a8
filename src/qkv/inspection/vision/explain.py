"""One image, one class, one method: an explanation with its measure."""

from __future__ import annotations

import os
import time

import numpy as np

from qkv.data.dataset import UInt8Array
from qkv.inspection.choices import chosen_label, chosen_method
from qkv.inspection.explanation import ImageExplanation
from qkv.inspection.faithfulness import measure_faithfulness
from qkv.inspection.masked import FloatArray
from qkv.inspection.vision.masked import MaskedImage
from qkv.inspection.vision.methods import DEFAULT_VISION_METHOD, VISION_METHODS
from qkv.vision.classifier import ImageInput, VisionClassifier


def explain_image(
    classifier: VisionClassifier,
    image: ImageInput,
    *,
    method: str | None = None,
    label: str | None = None,
    name: str | None = None,
    seed: int = 0,
) -> ImageExplanation:
    """Which patches of an image speak for a class, and how far that can be believed.

    Args:
        classifier: what answered.
        image: a path, encoded bytes, a PIL image or a uint8 array, as for `predict`.
        method: a key of `VISION_METHODS`; `DEFAULT_VISION_METHOD` when None.
        label: the class to explain; the predicted one when None.
        name: what the explanation calls the image; its path, or `image 0`, when None.
        seed: of what the method and the random orders draw.

    Raises:
        ImageError: the image cannot be read.
        RecipeError: there is no such method.
        DataError: there is no such class.
    """
    chosen = chosen_method(method, VISION_METHODS, DEFAULT_VISION_METHOD)
    way = VISION_METHODS[chosen]
    if name is None:
        name = os.fspath(image) if isinstance(image, str | os.PathLike) else "image 0"
    masked = MaskedImage(classifier, classifier.read(image, name=name))
    answer = masked.probabilities(np.ones((1, masked.parts), dtype=bool))[0]
    number = chosen_label(label, classifier.class_names, int(answer.argmax()))
    began = time.perf_counter()
    found = way.compute(masked, number, seed)
    seconds = time.perf_counter() - began
    heat, contributions = _both(
        found.contributions, masked.grid_size, classifier.model.settings.patch_size
    )
    return ImageExplanation(
        input=name,
        method=chosen,
        label=classifier.class_names[number],
        probability=float(answer[number]),
        probabilities=dict(zip(classifier.class_names, answer.tolist(), strict=True)),
        contributions=contributions,
        signed=way.signed,
        unit=way.unit,
        faithfulness=measure_faithfulness(masked, contributions, number, seed=seed),
        seconds=seconds,
        completeness_gap=found.completeness_gap,
        coarsened=found.coarsened,
        pixels=_picture(masked.pixels),
        grid_size=masked.grid_size,
        heat=heat.astype(np.float32),
    )


def _both(found: FloatArray, grid_size: int, patch_size: int) -> tuple[FloatArray, FloatArray]:
    """Contributions by pixel and by patch, from whichever a method gives."""
    if found.ndim == 2:
        patches = found.reshape(grid_size, patch_size, grid_size, patch_size)
        return found, patches.sum(axis=(1, 3)).reshape(-1)
    grid = found.reshape(grid_size, grid_size)
    return grid.repeat(patch_size, axis=0).repeat(patch_size, axis=1), found


def _picture(pixels: UInt8Array) -> UInt8Array:
    """(channels, height, width) as (height, width) or (height, width, 3)."""
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
