"""Fashion-MNIST: 70,000 grey images of clothes, 28×28, in ten classes."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from qkv.data.dataset import ImageDataset, ImageSplit, UInt8Array
from qkv.data.download import Content, RemoteFile
from qkv.data.locate import DatasetFiles, DebianPackage, Located, locate_files
from qkv.errors import DataError
from qkv.progress import Progress

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


def _file(name: str, size: int, sha256: str) -> RemoteFile:
    urls = (f"{_OFFICIAL}/{name}.gz", f"{_MIRROR}/{name}.gz")
    return RemoteFile(name, sha256, size, urls, gzipped=True)


FILES = DatasetFiles(
    name="fashion-mnist",
    title="Fashion-MNIST",
    # The hashes are of the plain IDX content, which all ways of packing it share.
    files=(
        _file(
            "train-images-idx3-ubyte",
            47_040_016,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        _file(
            "train-labels-idx1-ubyte",
            60_008,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        _file(
            "t10k-images-idx3-ubyte",
            7_840_016,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        _file(
            "t10k-labels-idx1-ubyte",
            10_008,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    package=DebianPackage(name="dataset-fashion-mnist", folder=SYSTEM_FOLDER),
)


def locate(
    folder: Path | None = None, *, progress: Progress | None = None, files: DatasetFiles = FILES
) -> Located[dict[str, Content]]:
    """Find or fetch the four files, verified; arguments and errors as of `locate_files`."""
    return locate_files(files, folder, progress=progress)


def load(
    folder: Path | None = None, *, progress: Progress | None = None, files: DatasetFiles = FILES
) -> ImageDataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images, uint8 (n, 1, 28, 28).

    Plain files are memory-mapped, packed ones are unpacked into memory. There is no validation
    split. Arguments and errors as of `locate`; a malformed file is a DataError too.
    """
    located = locate(folder, progress=progress, files=files)
    return ImageDataset(
        name="Fashion-MNIST",
        class_names=CLASS_NAMES,
        train=_split(located, "train"),
        validation=None,
        test=_split(located, "t10k"),
        source=located.source,
        sha256={file.name: file.sha256 for file in files.files},
        notes=located.notes,
    )


def read_idx(content: Content, *, where: str = "the IDX content") -> UInt8Array:
    """The array in an IDX file of unsigned bytes, read-only and without a copy.

    The header is two zero bytes, a type code, the number of dimensions, then each dimension as
    a big-endian 32-bit integer; the values follow in row-major order.

    Raises:
        DataError: the header is not that of unsigned bytes in 1 to 8 non-empty dimensions, or
            the length does not fit the header.
    """
    code, dimensions = (*content[2:4], 0, 0)[:2]
    start = 4 + 4 * dimensions
    if content[:2] != b"\0\0" or code != _UINT8_CODE or not 1 <= dimensions <= 8:
        problem = f"does not begin like an IDX file of unsigned bytes ({content[:4].hex()})"
    elif len(content) < start:
        problem = "ends within its header"
    else:
        shape = struct.unpack(f">{dimensions}I", content[4:start])
        if 0 not in shape and len(content) == start + math.prod(shape):
            values = np.frombuffer(content, dtype=np.uint8)[start:].reshape(shape)
            values.flags.writeable = False
            return values
        problem = f"has {len(content)} bytes, which do not fit its shape {shape}"
    raise DataError(f"{where} {problem}", remedy="replace the file by an intact copy")


def _split(located: Located[dict[str, Content]], prefix: str) -> ImageSplit:
    """One split from its pair of files, whose shapes and labels must agree."""
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    image_file, label_file = (located.files[name] for name in names)
    images = read_idx(located.content[names[0]], where=str(image_file))
    labels = read_idx(located.content[names[1]], where=str(label_file))
    if images.shape[1:] != (_IMAGE_SIZE, _IMAGE_SIZE):
        problem = f"{image_file} has shape {images.shape}, not (n, 28, 28)"
    elif labels.shape != images.shape[:1]:
        problem = f"{label_file} has shape {labels.shape} for {len(images)} images"
    elif labels.max() >= len(CLASS_NAMES):
        problem = f"{label_file} has label {labels.max()}, beyond the {len(CLASS_NAMES)} classes"
    else:
        rows = np.arange(len(images), dtype=np.int64)
        return ImageSplit(images[:, np.newaxis], rows, labels.astype(np.int64))
    raise DataError(problem, remedy="delete the files there and fetch them again")
