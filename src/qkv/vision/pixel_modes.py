"""What each way of storing a pixel becomes: 8-bit grey or 8-bit RGB.

| stored as | becomes |
|---|---|
| 1 bit | 0 or 255 |
| 8-bit grey, RGB | itself |
| 16-bit grey, or 32-bit within 0..65535 | value / 257, rounded, so 65535 is 255 |
| 12-bit grey (TIFF) | value × 255 / 4095, rounded |
| palette | its colours |
| CMYK, YCbCr, L*a*b* | RGB (CMYK by complement; embedded colour profiles are not applied) |
| alpha channel, transparent palette entry or key colour | laid over white |
| 16 bits a channel, RGB (PNG) | the high byte |
| wider integers, floating point | refused |

RGB becomes one channel by the ITU-R 601 luma, (299 R + 587 G + 114 B) / 1000; grey becomes three
channels by repetition.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from qkv.vision.dataset import UInt8Array

CONVERSION_VERSION = 1
"""Raised whenever a conversion gives other pixels, so that cached pixels are made anew."""

_WHITE = (255, 255, 255, 255)
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F"})
_PNG_GREY_STEP = {"1": 255, "L;2": 85, "L;4": 17}
_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262


class UnsupportedPixelsError(ValueError):
    """Pixels that have no defined 8-bit meaning."""


def is_grey(image: Image.Image) -> bool:
    """Whether the image's mode, or every colour of its palette, is grey; pixels are not read."""
    if image.mode in _GREY_MODES or image.mode.startswith("I;16"):
        return True
    if image.mode not in {"P", "PA"} or image.palette is None:
        return False
    layout, colours = image.palette.getdata()
    entries = np.frombuffer(bytes(colours), np.uint8)
    if layout.endswith(";L"):  # one plane a channel instead of one entry a colour
        red, green, blue = entries[: len(entries) // 3 * 3].reshape(3, -1)
    else:
        stride = 4 if len(layout) == 4 else 3
        # The first three bytes are the colour, whichever way round they stand.
        red, green, blue = entries[: len(entries) // stride * stride].reshape(-1, stride).T[:3]
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


def to_pixels(image: Image.Image, channels: int) -> UInt8Array:
    """Pixels of a loaded image as uint8 (channels, height, width), by the table above.

    Raises:
        UnsupportedPixelsError: the pixels are wider than 16 bits or floating point.
    """
    if image.mode.startswith("I"):
        flat = Image.fromarray(_from_wide_grey(image))
    elif image.mode == "F":
        raise UnsupportedPixelsError("has floating-point pixels, whose range is not known")
    else:
        flat = _over_white(image)
    flat = flat.convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(flat)
    if channels == 1:
        return np.ascontiguousarray(pixels[np.newaxis])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _over_white(image: Image.Image) -> Image.Image:
    key = image.info.get("transparency")
    if image.mode in {"1", "L", "RGB"}:
        return image if key is None else _key_to_white(image, key)
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, _WHITE)
        return Image.alpha_composite(canvas, _with_alpha(image))
    return image.convert("RGB")


def _with_alpha(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # Pillow goes from premultiplied grey to grey, but not on to colour
        image = image.convert("LA")
    return image.convert("RGBA")


def _key_to_white(image: Image.Image, key: int | tuple[int, ...] | bytes) -> Image.Image:
    # The key stands in the file's own bit depth, the pixels in eight bits.
    scale = _PNG_GREY_STEP.get(image.info.get("stored_as", ""), 1)
    pixels = np.array(image.convert("RGB" if image.mode == "RGB" else "L"))
    if isinstance(key, int):
        pixels[pixels == key * scale] = 255
    elif isinstance(key, tuple):
        shift = 8 if max(key) > 255 else 0
        colour = np.array([part >> shift for part in key])
        pixels[(pixels == colour).all(axis=-1)] = 255
    return Image.fromarray(pixels)


def _from_wide_grey(image: Image.Image) -> npt.NDArray[np.uint8]:
    values = np.asarray(image).astype(np.int64 if image.mode == "I" else np.uint32)
    full = 65535
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        full = 4095 if image.tag_v2.get(_BITS_PER_SAMPLE) == (12,) else full
    if values.min() < 0 or values.max() > full:
        raise UnsupportedPixelsError(
            f"has grey values from {values.min()} to {values.max()}, outside 0..{full}"
        )
    grey = (values * 255 + full // 2) // full
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0:
        grey = 255 - grey
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return grey.astype(np.uint8)
