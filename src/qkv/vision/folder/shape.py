"""The one image shape of a folder whose files have many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from qkv.class_folders import FolderFile
from qkv.errors import ImageError
from qkv.vision.decode import Channels, ImageFacts, probe
from qkv.vision.ordered_map import ordered_map

IMAGE_SIZES = (28, 32, 64, 96)


def choose_shape(
    files: Sequence[FolderFile], *, image_size: int | None, channels: Channels | Literal["auto"]
) -> tuple[int, Channels]:
    """(image size, channels) to store; what is not given is chosen by the headers of all files.

    The size is the largest of `IMAGE_SIZES` that is not above the median shorter side, so that half
    of the images at least need no enlarging; never below the smallest. The channels are 1 if every
    image is grey by its mode or palette, else 3. Files without a readable header have no say.
    """
    if image_size is not None and channels != "auto":
        return image_size, channels
    facts = [one for one in ordered_map(_facts, files) if one is not None]
    if image_size is None:
        median = np.median([min(one.width, one.height) for one in facts]) if facts else 0
        image_size = max([IMAGE_SIZES[0], *(size for size in IMAGE_SIZES if size <= median)])
    if channels == "auto":
        channels = 1 if facts and all(one.grey for one in facts) else 3
    return image_size, channels


def _facts(file: FolderFile) -> ImageFacts | None:
    try:
        return probe(file.path)
    except ImageError:  # reported with all other bad files once everything has been decoded
        return None
