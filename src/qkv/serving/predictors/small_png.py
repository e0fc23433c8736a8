"""A short way through the decoder for what a busy server gets most: plain small PNG files.

It gives the pixels that `qkv.vision.decode.decode` gives, in half the time, or None where that
must decide: whatever is not an 8-bit grey or RGB image without extras, and whatever is damaged.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import numpy.typing as npt
from PIL.PngImagePlugin import PngImageFile

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_START = _SIGNATURE + b"\x00\x00\x00\rIHDR"
_HEADER = struct.Struct(">II5s")
_CHUNK = struct.Struct(">I4s")
_FIRST_CHUNK = 33
_OVERHEAD = 12
# Bit depth 8, then grey or RGB; deflate, the usual filters, not interlaced.
_GREY, _RGB = b"\x08\x00\x00\x00\x00", b"\x08\x02\x00\x00\x00"
MAX_SMALL_PIXELS = 65_536


def decode_small_png(content: bytes, channels: int) -> npt.NDArray[np.uint8] | None:
    """uint8 (channels, height, width) of a small PNG of just that many channels, else None."""
    if not content.startswith(_START) or len(content) < _FIRST_CHUNK:
        return None
    width, height, kind = _HEADER.unpack_from(content, 16)
    if kind != (_GREY if channels == 1 else _RGB) or not 0 < width * height <= MAX_SMALL_PIXELS:
        return None
    if not _has_pixels_alone(content):
        return None
    try:
        image = PngImageFile(io.BytesIO(content))
        flat = np.frombuffer(image.tobytes(), np.uint8)
    except (OSError, SyntaxError, ValueError):  # the long way finds the words for it
        return None
    if channels == 1:
        return flat.reshape(1, height, width)
    return np.ascontiguousarray(flat.reshape(height, width, 3).transpose(2, 0, 1))


def png_pixels(content: bytes) -> int | None:
    """Width times height as a PNG's header says; None for another file."""
    if not content.startswith(_START) or len(content) < _FIRST_CHUNK:
        return None
    width, height, _ = _HEADER.unpack_from(content, 16)
    return int(width * height)


def _has_pixels_alone(content: bytes) -> bool:
    """Whether a PNG has no chunk but its header, its pixels, and its end."""
    place = _FIRST_CHUNK
    last = len(content) - _OVERHEAD
    while place < last:
        length, name = _CHUNK.unpack_from(content, place)
        if name != b"IDAT":
            return False
        place += length + _OVERHEAD
    return place == last and content.endswith(b"\x00\x00\x00\x00IEND\xaeB`\x82")
