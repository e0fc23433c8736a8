"""What a server and the processes of its models say to each other: sizes, then plain numbers.

Nothing is unpickled, and both ends are this very version of the program.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32, UInt8

_READY = struct.Struct("<4sI")
_MAGIC = b"qkv1"
_SHAPE = struct.Struct("<4I")


class CutOffError(EOFError):
    """The other process has ended."""


def write_ready(stream: BinaryIO, num_classes: int) -> None:
    """Say that a model is loaded."""
    stream.write(_READY.pack(_MAGIC, num_classes))
    stream.flush()


def read_ready(stream: BinaryIO) -> int:
    """Wait until a model is loaded; the number of its classes.

    Raises:
        CutOffError: its process ended instead.
    """
    magic, num_classes = _READY.unpack(_exactly(stream, _READY.size))
    if magic != _MAGIC:
        raise CutOffError
    return int(num_classes)


def write_images(stream: BinaryIO, images: UInt8[np.ndarray, "images channels size size"]) -> None:
    """Send a batch."""
    stream.write(_SHAPE.pack(*images.shape))
    stream.write(np.ascontiguousarray(images).data)
    stream.flush()


def read_images(stream: BinaryIO) -> UInt8[np.ndarray, "images channels size size"] | None:
    """The next batch; None where there is no more."""
    try:
        shape = _SHAPE.unpack(_exactly(stream, _SHAPE.size))
        content = _exactly(stream, int(np.prod(shape)))
    except CutOffError:
        return None
    return np.frombuffer(bytearray(content), np.uint8).reshape(shape)


def write_probabilities(
    stream: BinaryIO, probabilities: Float32[np.ndarray, "images classes"]
) -> None:
    """Answer a batch."""
    stream.write(np.ascontiguousarray(probabilities, dtype="<f4").data)
    stream.flush()


def read_probabilities(
    stream: BinaryIO, count: int, num_classes: int
) -> Float32[np.ndarray, "images classes"]:
    """The answer of a batch.

    Raises:
        CutOffError: the other process ended before it was whole.
    """
    content = _exactly(stream, 4 * count * num_classes)
    return np.frombuffer(content, "<f4").reshape(count, num_classes)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise CutOffError
    return content
