"""A Fashion-MNIST of a few made-up images in which a class is a bright band, as real IDX files."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qkv.data import fashion_mnist
from qkv.data.download import RemoteFile

TRAIN_IMAGES, TEST_IMAGES = 100, 50


def write_small(folder: Path, seed: int = 0) -> Callable[..., Any]:
    """Write the four files; returns `fashion_mnist.load` for files of just these bytes."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    files = []
    for prefix, count in (("train", TRAIN_IMAGES), ("t10k", TEST_IMAGES)):
        labels = generator.permutation(np.arange(count) % 10).astype(np.uint8)
        images = generator.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 4] = 255
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            content = header + values.tobytes()
            path = folder / f"{prefix}-{name}-ubyte"
            path.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            files.append(RemoteFile(path.name, digest, len(content)))
    known = replace(fashion_mnist.FILES, files=tuple(files), package=None)
    return functools.partial(fashion_mnist.load, files=known)
