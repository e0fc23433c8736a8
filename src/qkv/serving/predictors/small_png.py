"""A short way through the decoder for what a busy server gets most: plain small PNG files.

It gives the pixels that `qkv.data.image_decode.decode` gives, in a third of the time, or None where
that must decide: whatever is not an 8-bit grey or RGB image of one chunk of pixels, and whatever is
damaged.
"""

from __future__ import annotations

import struct
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image

_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_NAMES = 4
_HEADER = struct.Struct(">II5sI")
_HEADER_AT = len(_START)
# Bit depth 8, then grey or RGB; deflate, the usual filters, not interlaced.
_KINDS = {1: (b"\x08\x00\x00\x00\x00", "L"), 3: (b"\x08\x02\x00\x00\x00", "RGB")}
_CHUNK = struct.Struct(">I4s")
_CHUNK_AT = _HEADER_AT + _HEADER.size
_PIXELS_AT = _CHUNK_AT + _CHUNK.size
_CHECKSUM = struct.Struct(">I")
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_AFTER_PIXELS = _CHECKSUM.size + len(_END)
_LEAST = _PIXELS_AT + _AFTER_PIXELS
MAX_SMALL_PIXELS = 65_536


def decode_small_png(content: bytes, channels: int) -> npt.NDArray[np.uint8] | None:
    """uint8 (channels, height, width) of a small PNG of just that many channels, else None."""
    if len(content) < _LEAST or not content.startswith(_START) or not content.endswith(_END):
        return None
    width, height, kind, header_checksum = _HEADER.unpack_from(content, _HEADER_AT)
    expected, mode = _KINDS[channels]
    if kind != expected or not 0 < width * height <= MAX_SMALL_PIXELS:
        return None
    end = len(content) - _AFTER_PIXELS
    if _CHUNK.unpack_from(content, _CHUNK_AT) != (end - _PIXELS_AT, b"IDAT"):
        return None
    (checksum,) = _CHECKSUM.unpack_from(content, end)
    # Checksums are of a chunk's name and content.
    if checksum != crc32(content[_PIXELS_AT - _NAMES : end]) or header_checksum != crc32(
        content[_HEADER_AT - _NAMES : _CHUNK_AT - _CHECKSUM.size]
    ):
        return None
    try:
        image = Image.frombytes(mode, (width, height), content[_PIXELS_AT:end], "zip", mode, 0)
    except (OSError, ValueError):  # the long way finds the words for it
        return None
    flat = np.frombuffer(image.tobytes(), np.uint8)
    if channels == 1:
        return flat.reshape(1, height, width)
    return np.ascontiguousarray(flat.reshape(height, width, 3).transpose(2, 0, 1))


def png_pixels(content: bytes) -> int | None:
    """Width times height as a PNG's header says; None for another file."""
    if not content.startswith(_START) or len(content) < _CHUNK_AT:
        return None
    width, height, _, _ = _HEADER.unpack_from(content, _HEADER_AT)
    return int(width * height)
