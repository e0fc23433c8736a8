"""One image file to uint8 pixels: upright, bounded, and with one error for all that can be wrong.

PNG, JPEG, WebP, GIF (first frame), BMP and TIFF (first page) are read; no other parser ever runs.
What each way of storing a pixel becomes, 8-bit grey or 8-bit RGB:

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

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from qkv.data.dataset import UInt8Array
from qkv.errors import ImageError

CONVERSION_VERSION = 1
"""Raised whenever a conversion gives other pixels, so that cached pixels are made anew."""

Channels = Literal[1, 3]
ImageSource = str | os.PathLike[str] | bytes | BinaryIO

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
)
MAX_PIXELS = 50_000_000
"""The largest width x height that is decoded unless less is asked for."""

_NOT_AN_IMAGE = "is not a PNG, JPEG, WebP, GIF, BMP or TIFF image"
_WHITE = (255, 255, 255, 255)
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F"})
_PNG_GREY_STEP = {"1": 255, "L;2": 85, "L;4": 17}
_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({5, 6, 7, 8})


class LargeImageError(ImageError):
    """More pixels than are decoded."""


class UnsupportedPixelsError(ValueError):
    """Pixels that have no defined 8-bit meaning."""


@dataclass(frozen=True)
class ImageFacts:
    """What an image's header says.

    Attributes:
        width, height: pixels, after the EXIF rotation.
        mode: Pillow's name of the pixel layout (`"RGB"`, `"P"`, `"I;16"` …).
        format: one of `FORMATS`.
        grey: whether the mode, or every colour of the palette, is grey.
    """

    width: int
    height: int
    mode: str
    format: str
    grey: bool


class _SilentWarnings:
    """Silence while any thread is inside; `catch_warnings` alone mixes up filters of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._saved.__exit__(None, None, None)


# Pillow warns of odd metadata (many cameras write it) and of large sizes (bounded here); whatever
# touches the pixels it raises.
_silent_warnings = _SilentWarnings()


def decode(
    source: ImageSource,
    *,
    channels: Channels,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> UInt8Array:
    """Decode an image to uint8 (channels, height, width), upright and over white.

    Args:
        source: a path, the file's bytes, or a seekable binary file (read from its start).
        channels: 1 for grey, 3 for RGB.
        name: what errors call the image; the path if `source` is one, else "image".
        max_pixels: the largest width x height; the header tells before any pixel is read.

    Raises:
        LargeImageError: it has more than `max_pixels` pixels.
        ImageError: the file cannot be read, is empty, is in another format, is damaged or
            truncated, or has pixels of no defined 8-bit meaning.
    """
    with _opened(source, name, max_pixels) as image:
        # The file's own bit depth is forgotten on loading; a transparent key colour needs it.
        if image.format == "PNG" and image.tile:
            image.info["stored_as"] = str(image.tile[0][3])
        image.load()
        orientation = _orientation(image)
        pixels = to_pixels(image, channels)
    return _turned(pixels, orientation)


def probe(source: ImageSource, *, name: str | None = None) -> ImageFacts:
    """Read an image's header; its pixels may still turn out to be damaged.

    Raises:
        ImageError: as `decode`, as far as the header shows.
    """
    with _opened(source, name) as image:
        width, height = image.size
        # PNG would decode its pixels to look for late EXIF; TIFF has turned its size already.
        cheap = image.format not in {"TIFF", "PNG"} or "exif" in image.info
        if cheap and _orientation(image) in _SIDEWAYS:
            width, height = height, width
        return ImageFacts(
            width=width,
            height=height,
            mode=image.mode,
            # A JPEG with a second picture inside (many phones) opens as MPO.
            format="JPEG" if image.format == "MPO" else str(image.format),
            grey=is_grey(image),
        )


def resize_and_crop(pixels: UInt8Array, image_size: int) -> UInt8Array:
    """Cut the largest centred square and scale it to `image_size`: uint8 (channels, size, size).

    This is "resize the shorter side, then centre-crop" of uint8 (channels, height, width), without
    ever scaling what is cropped away. Pillow's bicubic filter antialiases on the way down. Of an
    odd remainder, the extra row or column is cut off at the bottom or right.
    """
    _, height, width = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[:, top : top + side, left : left + side]
    if side == image_size:
        return np.ascontiguousarray(square)
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(
            (image_size, image_size), Image.Resampling.BICUBIC
        )
        for plane in square
    ]
    return np.stack([np.asarray(plane) for plane in planes])


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
    wanted = "L" if channels == 1 else "RGB"
    pixels = np.asarray(flat if flat.mode == wanted else flat.convert(wanted))
    pixels = pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels)


@contextmanager
def _opened(
    source: ImageSource, name: str | None, max_pixels: int = MAX_PIXELS
) -> Iterator[ImageFile.ImageFile]:
    named = name or (str(source) if isinstance(source, (str, os.PathLike)) else "image")
    remedy = "replace or remove it"
    try:
        with _silent_warnings, _binary(source) as handle:
            if handle.seek(0, os.SEEK_END) == 0:
                raise ImageError(f"{named}: is empty (0 bytes)", remedy=remedy)
            with Image.open(handle, formats=FORMATS) as image:
                if not isinstance(image, ImageFile.ImageFile):
                    raise TypeError("Pillow gave an image that has no file")
                if image.width * image.height > max_pixels:
                    raise Image.DecompressionBombError
                yield image
        return
    except ImageError:
        raise
    except UnidentifiedImageError:
        reason, remedy = _NOT_AN_IMAGE, "convert or remove it"
    except Image.DecompressionBombError:
        raise LargeImageError(
            f"{named}: has more than {max_pixels:,} pixels", remedy="scale it down or remove it"
        ) from None
    except UnsupportedPixelsError as error:
        reason, remedy = str(error), "save it with 8 or 16 bits a channel"
    except MemoryError:
        reason, remedy = "does not fit in memory", "scale it down or remove it"
    except Exception as error:  # on hostile bytes, Pillow's parsers raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not a parser's
            reason = f"cannot be read ({error.strerror})"
            remedy = "check the path and its permissions"
        else:
            words = " ".join(str(error).split())
            detail = (words[:80] if words.isprintable() else "") or type(error).__name__
            reason = f"is damaged or truncated ({detail})"
    raise ImageError(f"{named}: {reason}", remedy=remedy)


def _binary(source: ImageSource) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, (str, os.PathLike)):
        return Path(source).open("rb")
    return nullcontext(io.BytesIO(source) if isinstance(source, bytes) else source)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata says nothing about the pixels
        return 1
    return value if isinstance(value, int) else 1


def _turned(pixels: UInt8Array, orientation: int) -> UInt8Array:
    method = _UPRIGHT.get(orientation)
    if method is None:
        return pixels
    planes = [np.asarray(Image.fromarray(plane).transpose(method)) for plane in pixels]
    return np.stack(planes)


def _over_white(image: Image.Image) -> Image.Image:
    key = image.info.get("transparency")
    if image.mode in {"1", "L", "RGB"}:
        return image if key is None else _key_to_white(image, key)
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode == "La":  # Pillow goes from premultiplied grey to grey, but not on to colour
        image = image.convert("LA")
    canvas = Image.new("RGBA", image.size, _WHITE)
    return Image.alpha_composite(canvas, image.convert("RGBA"))


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
