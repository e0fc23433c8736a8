"""An image of which only some patches are left."""

from __future__ import annotations

import numpy as np

from qkv.data.dataset import UInt8Array
from qkv.inspection.masked import BoolArray, FloatArray
from qkv.vision.classifier import VisionClassifier

# Images a forward pass: more gain nothing on a CPU.
CHUNK = 64


def border_colour(pixels: UInt8Array) -> UInt8Array:
    """The median colour of an image's outermost pixels, for a place where nothing is.

    Args:
        pixels: uint8 (channels, height, width).

    Returns:
        uint8 (channels,), each channel's own median.
    """
    _, height, width = pixels.shape
    rows, columns = np.indices((height, width))
    at_border = (rows % (height - 1 or 1) == 0) | (columns % (width - 1 or 1) == 0)
    median: UInt8Array = np.median(pixels[:, at_border], axis=1).round().astype(np.uint8)
    return median


class MaskedImage:
    """An image in patches, any of which can be painted over with the border's median colour.

    Where things stand before a plain ground this is the ground; a grey or black square would be a
    thing of its own.

    Args:
        classifier: what answers.
        pixels: uint8 (channels, image_size, image_size), as `VisionClassifier.read` gives them.

    Attributes:
        classifier: as given.
        pixels: as given.
        empty: uint8 of the same shape, the image without any patch.
    """

    def __init__(self, classifier: VisionClassifier, pixels: UInt8Array) -> None:
        self.classifier = classifier
        self.pixels = pixels
        self.empty: UInt8Array = np.broadcast_to(border_colour(pixels)[:, None, None], pixels.shape)

    @property
    def parts(self) -> int:
        """How many patches."""
        return self.grid_size**2

    @property
    def grid_size(self) -> int:
        """Patches along a side."""
        return self.classifier.model.settings.grid_size

    def images(self, keep: BoolArray) -> UInt8Array:
        """The image with only the kept patches, for each row of `keep` (subsets, patches).

        Returns:
            uint8 (subsets, channels, image_size, image_size).
        """
        grid = keep.reshape(-1, 1, self.grid_size, self.grid_size)
        side = self.classifier.model.settings.patch_size
        shown = grid.repeat(side, axis=2).repeat(side, axis=3)
        images: UInt8Array = np.where(shown, self.pixels, self.empty)
        return images

    def probabilities(self, keep: BoolArray) -> FloatArray:
        """Probabilities (subsets, classes) of the image with only the kept patches.

        Args:
            keep: (subsets, patches), True where a patch stays. What is asked twice is computed
                once.
        """
        different, places = np.unique(keep, axis=0, return_inverse=True)
        logits = [
            self.classifier.logits(self.images(different[start : start + CHUNK]))
            for start in range(0, len(different), CHUNK)
        ]
        answers = np.concatenate([part.double().softmax(dim=1).numpy() for part in logits])
        found: FloatArray = answers[places.reshape(-1)]
        return found
