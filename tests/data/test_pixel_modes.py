"""Each way of storing a pixel, through a real file, to the exact 8-bit value."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qkv.data.image_decode import decode, probe
from qkv.errors import ImageError


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, key: bytes = b"") -> bytes:
    """A PNG from raw scanlines, for the depths that Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    transparency = chunk(b"tRNS", key) if key else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + transparency
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def row(mode: str, *pixels: Any) -> Image.Image:
    image = Image.new(mode, (len(pixels), 1))
    for column, pixel in enumerate(pixels):
        image.putpixel((column, 0), pixel)
    return image


def grey(data: bytes) -> list[int]:
    return decode(data, channels=1)[0, 0].tolist()


def rgb(data: bytes) -> list[tuple[int, ...]]:
    return [tuple(colour) for colour in decode(data, channels=3)[:, 0].T.tolist()]


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF"])
def test_one_bit_becomes_black_and_white(image_format: str) -> None:
    data = encoded(row("1", 0, 1, 1, 0, 1), image_format)
    assert grey(data) == [0, 255, 255, 0, 255]
    assert rgb(data)[:2] == [(0, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "GIF"])
def test_eight_bits_of_grey_stay_and_repeat(image_format: str) -> None:
    data = encoded(row("L", 0, 1, 127, 254, 255), image_format)
    assert grey(data) == [0, 1, 127, 254, 255]
    assert rgb(data)[1:3] == [(1, 1, 1), (127, 127, 127)]


def test_rgb_becomes_grey_by_its_luma() -> None:
    data = encoded(row("RGB", (255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 200, 30)), "PNG")
    # round(0.299 R + 0.587 G + 0.114 B)
    assert grey(data) == [76, 150, 29, 124]
    assert rgb(data)[3] == (10, 200, 30)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_over_white(image_format: str) -> None:
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    image = row("RGBA", (200, 0, 100, 255), (200, 0, 100, 0), (200, 0, 100, 51), (0, 0, 0, 128))
    data = encoded(image, image_format, **options)
    # 51 / 255 = 1/5: 0.2 × 200 + 0.8 × 255 = 244
    assert rgb(data) == [(200, 0, 100), (255, 255, 255), (244, 204, 224), (127, 127, 127)]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_grey_with_alpha_is_laid_over_white(image_format: str) -> None:
    data = encoded(row("LA", (100, 255), (100, 0), (100, 51)), image_format)
    assert grey(data) == [100, 255, 224]
    assert rgb(data)[2] == (224, 224, 224)


def palette_row() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 0, 255, 7, 8, 9])
    image.putdata([0, 1, 2])
    return image


@pytest.mark.parametrize("image_format", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette_becomes_its_colours(image_format: str) -> None:
    assert rgb(encoded(palette_row(), image_format)) == [(255, 0, 0), (0, 0, 255), (7, 8, 9)]


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(image_format: str) -> None:
    data = encoded(palette_row(), image_format, transparency=1)
    assert rgb(data) == [(255, 0, 0), (255, 255, 255), (7, 8, 9)]


def test_a_palette_with_an_alpha_for_each_entry() -> None:
    data = encoded(palette_row(), "PNG", transparency=bytes([51, 0, 255]))
    assert rgb(data) == [(255, 204, 204), (255, 255, 255), (7, 8, 9)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("depth", "rows", "key", "expected"),
    [
        (1, b"\x00\x40", 1, [0, 255, 0]),
        (1, b"\x00\x40", 0, [255, 255, 255]),
        (2, b"\x00\x1c", 1, [0, 255, 255]),  # values 0, 1, 3
        (4, b"\x00\x05\xf0", 5, [0, 255, 255]),  # values 0, 5, 15
        (4, b"\x00\x05\xf0", 15, [0, 85, 255]),
        (8, b"\x00\x00\x05\xf0", 5, [0, 255, 240]),
        (16, b"\x00" + struct.pack(">3H", 0, 257, 258), 257, [0, 255, 1]),
    ],
)
def test_a_grey_key_colour_of_any_depth_is_white(
    depth: int, rows: bytes, key: int, expected: list[int], channels: int
) -> None:
    data = png(3, 1, depth, 0, rows, struct.pack(">H", key))
    pixels = decode(data, channels=3 if channels == 3 else 1)
    assert (pixels[:, 0] == expected).all()


def test_an_rgb_key_colour_is_white() -> None:
    data = png(2, 1, 8, 2, b"\x00" + bytes([1, 2, 3, 1, 2, 4]), struct.pack(">3H", 1, 2, 3))
    assert rgb(data) == [(255, 255, 255), (1, 2, 4)]


def test_sixteen_bit_rgb_gives_its_high_byte_and_key() -> None:
    rows = b"\x00" + struct.pack(">6H", 0x1234, 0x56FF, 0xFFFF, 0x0A00, 0x0B00, 0x0C00)
    assert rgb(png(2, 1, 16, 2, rows)) == [(0x12, 0x56, 0xFF), (0x0A, 0x0B, 0x0C)]
    keyed = png(2, 1, 16, 2, rows, struct.pack(">3H", 0x0A00, 0x0B00, 0x0C00))
    assert rgb(keyed)[1] == (255, 255, 255)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bit_grey_is_scaled_and_rounded(mode: str) -> None:
    values = [0, 128, 129, 257, 32768, 65535]
    order = ">" if mode == "I;16B" else "<"
    image = Image.frombytes(mode, (6, 1), struct.pack(f"{order}6H", *values))
    data = encoded(image, "TIFF")
    assert probe(data).mode == mode
    # round(value / 257)
    assert grey(data) == [0, 0, 1, 1, 128, 255]
    assert rgb(data)[4] == (128, 128, 128)


def test_sixteen_bit_grey_png() -> None:
    data = png(3, 1, 16, 0, b"\x00" + struct.pack(">3H", 0, 32768, 65535))
    assert grey(data) == [0, 128, 255]


def test_wide_integers_within_sixteen_bits() -> None:
    data = encoded(row("I", 0, 32768, 65535), "TIFF")
    assert probe(data).mode == "I"
    assert grey(data) == [0, 128, 255]


def tiff(tags: dict[int, int], body: bytes) -> bytes:
    """A little-endian TIFF of one strip, from its tags."""
    tags = tags | {273: 8 + 2 + 12 * (len(tags) + 2) + 4, 279: len(body)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + b"\x00" * 4 + body


TIFF_TAGS = {256: 2, 257: 1, 258: 16, 259: 1, 262: 1, 277: 1, 278: 1}


def test_white_is_zero_is_turned() -> None:
    body = struct.pack("<2H", 0, 65535)
    assert grey(tiff(TIFF_TAGS, body)) == [0, 255]
    assert grey(tiff(TIFF_TAGS | {262: 0}, body)) == [255, 0]


def test_twelve_bit_grey_reaches_white() -> None:
    body = bytes([0xFF, 0xF8, 0x00])  # 4095, 2048
    assert grey(tiff(TIFF_TAGS | {258: 12}, body)) == [255, 128]


def test_integers_beyond_sixteen_bits_are_refused() -> None:
    for pixel in (65536, -1):
        with pytest.raises(ImageError, match=r"outside 0\.\.65535; save it with 8 or 16 bits"):
            decode(encoded(row("I", 0, pixel), "TIFF"), channels=1)


def test_floating_point_is_refused() -> None:
    data = encoded(row("F", 0.5), "TIFF")
    with pytest.raises(ImageError, match="image: has floating-point pixels"):
        decode(data, channels=3)


def test_cmyk_becomes_rgb() -> None:
    image = row("CMYK", (0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255), (0, 255, 255, 0))
    assert rgb(encoded(image, "TIFF")) == [(255, 255, 255), (0, 255, 255), (0, 0, 0), (255, 0, 0)]
    flat = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    pixels = decode(encoded(flat, "JPEG", quality=100), channels=3)
    assert np.abs(pixels.astype(int) - np.array([255, 0, 0])[:, None, None]).max() <= 2


def test_ycbcr_becomes_rgb() -> None:
    data = encoded(Image.new("RGB", (8, 8), (200, 50, 30)).convert("YCbCr"), "TIFF")
    pixels = decode(data, channels=3)
    assert np.abs(pixels.astype(int) - np.array([200, 50, 30])[:, None, None]).max() <= 2


def test_lab_becomes_rgb() -> None:
    # L* 0..255 is 0..100; a* and b* are signed bytes, here 0: neutral.
    data = encoded(Image.frombytes("LAB", (2, 1), bytes([255, 0, 0, 0, 0, 0])), "TIFF")
    white, black = rgb(data)
    assert min(white) >= 252
    assert max(black) <= 3


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (row("1", 0), True),
        (row("L", 3), True),
        (row("LA", (3, 9)), True),
        (row("I;16", 900), True),
        (row("RGB", (5, 5, 5)), False),
        (row("RGBA", (5, 5, 5, 5)), False),
        (palette_row(), False),
    ],
)
def test_grey_is_known_from_the_header(image: Image.Image, expected: bool) -> None:
    assert probe(encoded(image, "PNG")).grey is expected


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "GIF"])
def test_a_palette_is_grey_if_its_colours_are(image_format: str) -> None:
    image = Image.new("P", (3, 1))
    # Not the identity, which some formats read as plain grey.
    image.putpalette([9, 9, 9, 200, 200, 200, 30, 30, 30])
    image.putdata([0, 1, 2])
    facts = probe(encoded(image, image_format))
    assert (facts.mode, facts.grey) == ("P", True)
    assert not probe(encoded(palette_row(), image_format)).grey
