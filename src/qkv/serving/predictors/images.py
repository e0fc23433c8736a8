"""Predictions of images: decoded one by one, computed together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from qkv.data.image_decode import decode, probe, resize_and_crop
from qkv.errors import ImageError
from qkv.serving.predictors.apart import ImageProcesses
from qkv.serving.predictors.scores import Scores, ScoreWriter, ranked
from qkv.serving.predictors.small_png import decode_small_png, png_pixels
from qkv.vision.classifier import VisionClassifier

MAX_QUICK_PIXELS = 16_384
MAX_QUICK_BYTES = 65_536
Pixels = npt.NDArray[np.uint8]


class ImagePredictor:
    """Answers of a vision model.

    Args:
        classifier: the model.

    Attributes:
        unit: what `cost` counts.
        writer: of the model's class names.
    """

    unit = "images"

    def __init__(self, classifier: VisionClassifier) -> None:
        self.classifier = classifier
        self._apart: ImageProcesses | None = None
        self.writer = ScoreWriter(classifier.class_names)
        self._channels = classifier.preprocessing.channels
        self._size = classifier.preprocessing.image_size

    def read(self, content: bytes, *, max_pixels: int) -> Pixels:
        """What the model reads of an encoded image: uint8 (channels, size, size).

        Raises:
            ImageError: it cannot be decoded, or has more than `max_pixels` pixels.
        """
        require_pixels(content, max_pixels)
        pixels = decode_small_png(content, self._channels)
        if pixels is None:
            pixels = decode(content, channels=self._channels, name="image")
        return resize_and_crop(pixels, self._size)

    def is_quick(self, content: bytes) -> bool:
        """Whether `read` takes no longer than handing it to another thread would."""
        size = png_pixels(content)
        return size is not None and size <= MAX_QUICK_PIXELS and len(content) <= MAX_QUICK_BYTES

    def cost(self, pixels: Pixels) -> int:  # noqa: ARG002
        """Every image costs the same."""
        return 1

    def compute(self, images: list[Pixels]) -> list[Scores]:
        """The scores of several images, in their order.

        Raises:
            ServingError: the process that computed them has ended.
        """
        batch = np.stack(images)
        if self._apart is not None:
            return ranked(self._apart.probabilities(batch))
        return ranked(self.classifier.logits(batch).softmax(dim=1).numpy())

    def move_apart(self, run: Path, count: int, threads: int) -> None:
        """From now on, compute in processes.

        Args:
            run: the folder of the model.
            count: how many processes.
            threads: of torch, in each.

        Raises:
            ServerStartError: one ends before its model is loaded.
        """
        self._apart = ImageProcesses(run, count, threads)

    def close(self) -> None:
        """End the processes, if there are any."""
        if self._apart is not None:
            self._apart.close()
            self._apart = None

    def warm_up(self) -> None:
        """Compute once, so that the first request does not wait for what is set up then."""
        self.compute([np.zeros((self._channels, self._size, self._size), np.uint8)] * 2)


def require_pixels(content: bytes, max_pixels: int) -> None:
    """See that an image is not too large, before any pixel of it is decoded.

    Raises:
        ImageError: it is, or its header cannot be read.
    """
    size = png_pixels(content)
    if size is None:
        facts = probe(content, name="image")
        size = facts.width * facts.height
    if size > max_pixels:
        raise ImageError(f"image: has more than {max_pixels:,} pixels", remedy="scale it down")
