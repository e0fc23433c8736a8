"""Fashion-MNIST: 70,000 grey images of clothes, 28×28, in ten classes."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from qkv.data.dataset import ImageDataset, ImageSplit, UInt8Array
from qkv.errors import DataError
from qkv.sources import Artefact, Collection, Content, DebianPackage, Located, Progress
from qkv.sources import locate as locate_collection

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")

_OFFICIAL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_MIRROR = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
_IMAGE_SIZE = 28
_UINT8_CODE = 0x08


def _artefact(name: str, size: int, sha256: str) -> Artefact:
    urls = (f"{_OFFICIAL}/{name}.gz", f"{_MIRROR}/{name}.gz")
    return Artefact(name=name, sha256=sha256, size=size, urls=urls, compression="gzip")


FILES = Collection(
    name="fashion-mnist",
    title="Fashion-MNIST",
    # The hashes are of the plain IDX content, which all ways of packing it share.
    artefacts=(
        _artefact(
            "train-images-idx3-ubyte",
            47_040_016,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        _artefact(
            "train-labels-idx1-ubyte",
            60_008,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        _artefact(
            "t10k-images-idx3-ubyte",
            7_840_016,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        _artefact(
            "t10k-labels-idx1-ubyte",
            10_008,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    package=DebianPackage(name="dataset-fashion-mnist", folder=SYSTEM_FOLDER),
)


def locate(
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
    files: Collection = FILES,
) -> Located:
    """Find or fetch the four files, verified: `qkv.sources.locate` with this data set's facts.

    Args:
        folder: the user's own copy; the only place looked at if given.
        progress: called with (done, total) bytes of content while downloading.
        files: other artefacts of the same four names, for tests.

    Raises:
        DataError: the user's folder lacks a file or holds a wrong one.
        DownloadError: the files are nowhere and cannot be fetched; says what to do.
    """
    return locate_collection(files, folder, progress=progress)


def load(
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
    files: Collection = FILES,
) -> ImageDataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images, uint8 (n, 1, 28, 28).

    Plain files are memory-mapped, packed ones are unpacked into memory. There is no validation
    split; the recipe may carve one out of the training images.

    Args:
        folder: the user's own copy; the only place looked at if given.
        progress: called with (done, total) bytes of content while downloading.
        files: other artefacts of the same four names, for tests.

    Raises:
        DataError: the user's folder lacks a file or holds a wrong one, or a file is malformed.
        DownloadError: the files are nowhere and cannot be fetched; says what to do.
    """
    located = locate(folder, progress=progress, files=files)
    return ImageDataset(
        name="Fashion-MNIST",
        class_names=CLASS_NAMES,
        train=_split(located, "train"),
        validation=None,
        test=_split(located, "t10k"),
        source=located.source,
        sha256={artefact.name: artefact.sha256 for artefact in files.artefacts},
        notes=located.notes,
    )


def read_idx(content: Content, *, where: str = "the IDX content") -> UInt8Array:
    """The array in an IDX file of unsigned bytes, read-only and without a copy.

    The header is two zero bytes, a type code, the number of dimensions, then each dimension as
    a big-endian 32-bit integer; the values follow in row-major order.

    Args:
        content: the whole file.
        where: names the file in errors.

    Raises:
        DataError: the header is not that of unsigned bytes in 1 to 8 non-empty dimensions, or
            the length does not fit the header.
    """
    remedy = "replace the file by an intact copy"
    head = content[:4]
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(f"{where} does not begin like an IDX file", remedy=remedy)
    code, dimensions = head[2], head[3]
    if code != _UINT8_CODE:
        raise DataError(f"{where} has type code {code:#04x}, not unsigned bytes", remedy=remedy)
    if not 1 <= dimensions <= 8:
        raise DataError(f"{where} has {dimensions} dimensions, not 1 to 8", remedy=remedy)
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{where} ends within its header", remedy=remedy)
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    expected = start + math.prod(shape)
    if 0 in shape or len(content) != expected:
        raise DataError(
            f"{where} has {len(content)} bytes, but its header promises {expected} "
            f"with shape {shape}",
            remedy=remedy,
        )
    values = np.frombuffer(content, dtype=np.uint8)[start:].reshape(shape)
    values.flags.writeable = False
    return values


def _split(located: Located, prefix: str) -> ImageSplit:
    """One split from its pair of files, whose shapes and labels must agree."""
    image_name, label_name = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    images = read_idx(located.contents[image_name], where=str(located.files[image_name]))
    labels = read_idx(located.contents[label_name], where=str(located.files[label_name]))
    remedy = "delete the files there and fetch them again"
    if images.shape[1:] != (_IMAGE_SIZE, _IMAGE_SIZE):
        raise DataError(
            f"{located.files[image_name]} has shape {images.shape}, not (n, 28, 28)", remedy=remedy
        )
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{located.files[label_name]} has shape {labels.shape} for {len(images)} images",
            remedy=remedy,
        )
    if labels.max() >= len(CLASS_NAMES):
        raise DataError(
            f"{located.files[label_name]} has label {labels.max()}, beyond the "
            f"{len(CLASS_NAMES)} classes",
            remedy=remedy,
        )
    return ImageSplit(
        store=images[:, np.newaxis],
        rows=np.arange(len(images), dtype=np.int64),
        labels=labels.astype(np.int64),
    )
