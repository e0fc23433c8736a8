"""Image files good and bad, and each way of storing a pixel to its exact 8-bit value."""

from __future__ import annotations

import functools
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from qkv.data import image_decode as decode_module
from qkv.data.image_decode import MAX_PIXELS, ImageFacts, decode, probe, resize_and_crop
from qkv.errors import ImageError

NOT_AN_IMAGE = "is not a PNG, JPEG, WebP, GIF, BMP or TIFF image"


@functools.cache
def sample(image_format: str, mode: str = "RGB", orientation: int = 1) -> bytes:
    pixels = np.random.default_rng(7).integers(0, 256, (11, 13, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    buffer = io.BytesIO()
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    image.save(buffer, image_format, exif=exif)
    return buffer.getvalue()


FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_from_path_bytes_and_file(image_format: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.data"  # the content decides, not the name
    path.write_bytes(sample(image_format))
    pixels = decode(path, channels=3)
    assert pixels.shape == (3, 11, 13)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert (pixels == decode(str(path), channels=3)).all()
    assert (pixels == decode(path.read_bytes(), channels=3)).all()
    with path.open("rb") as handle:
        handle.read(5)
        assert (pixels == decode(handle, channels=3)).all()
    assert decode(path, channels=1).shape == (1, 11, 13)
    mode = "P" if image_format == "GIF" else "RGB"
    assert probe(path) == ImageFacts(13, 11, mode, image_format, grey=False)


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_keep_every_pixel(image_format: str) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (11, 13, 3), dtype=np.uint8)
    assert (decode(sample(image_format), channels=3) == pixels.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("image_format", ["GIF", "TIFF", "WEBP"])
def test_the_first_frame_is_read(image_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    buffer = io.BytesIO()
    frames[0].save(buffer, image_format, save_all=True, append_images=frames[1:])
    red, _, blue = decode(buffer.getvalue(), channels=3)[:, 4, 4]
    assert red > 200
    assert blue < 50


def test_a_phone_photo_with_a_second_picture_is_a_jpeg() -> None:
    first, second = Image.new("RGB", (16, 8), "red"), Image.new("RGB", (16, 8), "blue")
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    assert probe(buffer.getvalue()).format == "JPEG"
    assert decode(buffer.getvalue(), channels=3)[0].min() > 200


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotation_is_honoured(image_format: str, orientation: int) -> None:
    data = sample(image_format, orientation=orientation)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    pixels = decode(data, channels=3)
    assert (pixels == expected.transpose(2, 0, 1)).all()
    facts = probe(data)
    assert (facts.height, facts.width) == pixels.shape[1:]
    assert pixels.shape[1:] == ((11, 13) if orientation < 5 else (13, 11))


def test_rotation_by_hand() -> None:
    # Orientation 6: the stored left column is the top row, read from the bottom up.
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[1, 2, 3], [4, 5, 6]], np.uint8)).save(buffer, "PNG", exif=exif)
    assert decode(buffer.getvalue(), channels=1)[0].tolist() == [[4, 1], [5, 2], [6, 3]]


def test_damaged_rotation_leaves_the_pixels() -> None:
    data = bytearray(sample("JPEG", orientation=6))
    place = data.index(b"Exif\x00\x00") + 10
    data[place : place + 4] = b"\xff" * 4  # the first directory lies nowhere
    assert decode(bytes(data), channels=3).shape == (3, 11, 13)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"is empty \(0 bytes\); replace or remove it$"),
        (b"hello, this is text", NOT_AN_IMAGE + r"; convert or remove it$"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", NOT_AN_IMAGE),
        (b"P6 2 1 255\n" + bytes(6), NOT_AN_IMAGE),  # a format Pillow knows and qkv does not read
        (sample("PNG")[:20], r"is damaged or truncated \("),
    ],
)
def test_what_is_no_image_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(content)
    for read in (lambda: decode(path, channels=3), lambda: probe(path)):
        with pytest.raises(ImageError, match=f"cat\\.png: {reason}"):
            read()


@pytest.mark.parametrize("image_format", FORMATS)
def test_truncated_files_are_named(image_format: str) -> None:
    data = sample(image_format)
    with pytest.raises(ImageError, match=r"^a/b\.x: (is damaged or truncated \(|is not a)"):
        decode(data[: len(data) // 2], channels=3, name="a/b.x")


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: cannot be read \(No such file"):
        decode(tmp_path / "none.png", channels=1)
    with pytest.raises(ImageError, match="cannot be read"):
        probe(tmp_path)
    with pytest.raises(ImageError, match="damaged"):
        decode("a\0b", channels=1)


def huge_png(width: int, height: int) -> bytes:
    return png(width, height, depth=8, colour=0, rows=b"")


@pytest.mark.parametrize("side", [7072, 10_000, 50_000])  # above ours; Pillow warns; Pillow raises
def test_the_pixel_limit_is_checked_before_decoding(side: int) -> None:
    for read in (lambda data: decode(data, channels=1), probe):
        with pytest.raises(ImageError, match="has more than 50,000,000 pixels"):
            read(huge_png(side, side))


def test_the_pixel_limit_itself_is_allowed() -> None:
    assert probe(huge_png(MAX_PIXELS // 1000, 1000)).width == 50_000
    with pytest.raises(ImageError, match="damaged or truncated"):
        decode(huge_png(MAX_PIXELS // 1000, 1000), channels=1)


def check(read: Callable[[], object]) -> None:
    """Any exception but an image error of one line, or a warning, fails the test."""
    message = "image: whole"
    try:
        read()
    except ImageError as error:
        message = str(error)
    assert message.startswith("image: ")
    assert "\n" not in message


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", *(sample(f)[:12] for f in FORMATS)]))
def test_random_bytes_give_pixels_or_an_image_error(body: bytes, start: bytes) -> None:
    check(lambda: decode(start + body, channels=3))
    check(lambda: probe(start + body))


VALID = [
    *(sample(image_format) for image_format in FORMATS),
    sample("PNG", "P"),
    sample("PNG", "LA"),
    sample("GIF", "L"),
    sample("TIFF", "CMYK"),
    sample("JPEG", "CMYK", 6),
    sample("TIFF", "F", 6),
    sample("WEBP", "RGBA", 3),
]


@settings(max_examples=400, deadline=None)
@given(
    data=st.sampled_from(VALID),
    keep=st.floats(0.3, 1.3),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
)
def test_mutated_files_give_pixels_or_an_image_error(
    data: bytes, keep: float, changes: list[tuple[float, int]]
) -> None:
    mutated = bytearray(data[: int(len(data) * keep)])
    for place, value in changes:
        # Squared, so that headers are hit more often than pixels.
        mutated[int(place**2 * (len(mutated) - 1))] = value
    check(lambda: decode(bytes(mutated), channels=3))
    check(lambda: probe(bytes(mutated)))


def test_warning_filters_are_restored_after_threads() -> None:
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [decode(sample("JPEG"), channels=1) for _ in range(20)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
    assert decode_module._silent_warnings._inside == 0


def test_resizing_to_the_same_size_changes_nothing() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    assert (resize_and_crop(pixels, 28) == pixels).all()


def test_cropping_takes_the_centre() -> None:
    pixels = np.zeros((1, 4, 9), np.uint8)
    pixels[:, :, 2:6] = 200  # 5 columns to cut: 2 at the left, 3 at the right
    assert (resize_and_crop(pixels, 4) == 200).all()
    assert (resize_and_crop(pixels.transpose(0, 2, 1), 4) == 200).all()
    assert resize_and_crop(pixels, 4).flags.c_contiguous


def test_shrinking_averages_and_growing_keeps_flat() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[None]
    small = resize_and_crop(board, 8)
    assert np.abs(small.astype(int) - 127.5).max() < 12  # antialiased; nearest would give 0 or 255
    flat = np.full((3, 5, 7), 90, np.uint8)
    assert (resize_and_crop(flat, 32) == 90).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 48), st.sampled_from([1, 3]))
def test_resizing_gives_the_size_and_stays_in_range(
    height: int, width: int, size: int, channels: int
) -> None:
    pixels = np.full((channels, height, width), 255, np.uint8)
    result = resize_and_crop(pixels, size)
    assert result.shape == (channels, size, size)
    assert (result == 255).all()


def test_extreme_shapes_cost_no_more_than_the_square() -> None:
    assert resize_and_crop(np.zeros((1, 1, 5_000_000), np.uint8), 96).shape == (1, 96, 96)


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


def palette_row() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 0, 255, 7, 8, 9])
    image.putdata([0, 1, 2])
    return image


PLAIN = "PNG BMP TIFF"
# 51 / 255 = 1/5: 0.2 × 200 + 0.8 × 255 = 244
ALPHA = row("RGBA", (200, 0, 100, 255), (200, 0, 100, 0), (200, 0, 100, 51), (0, 0, 0, 128))
OVER_WHITE = [(200, 0, 100), (255, 255, 255), (244, 204, 224), (127, 127, 127)]
COLOURS = [(255, 0, 0), (0, 0, 255), (7, 8, 9)]


@pytest.mark.parametrize(
    ("image", "formats", "options", "expected"),
    [
        (row("1", 0, 1, 1, 0, 1), PLAIN, {}, [0, 255, 255, 0, 255]),
        (row("L", 0, 1, 127, 254, 255), f"{PLAIN} GIF", {}, [0, 1, 127, 254, 255]),
        (row("LA", (100, 255), (100, 0), (100, 51)), "PNG TIFF", {}, [100, 255, 224]),
        (ALPHA, "PNG TIFF", {}, OVER_WHITE),
        (ALPHA, "WEBP", {"lossless": True, "exact": True}, OVER_WHITE),
        (palette_row(), f"{PLAIN} GIF", {}, COLOURS),
        (palette_row(), "PNG GIF", {"transparency": 1}, [COLOURS[0], (255, 255, 255), COLOURS[2]]),
        (
            palette_row(),
            "PNG",
            {"transparency": bytes([51, 0, 255])},
            [(255, 204, 204), (255, 255, 255), COLOURS[2]],
        ),
    ],
)
def test_bits_greys_palettes_and_alpha(
    image: Image.Image, formats: str, options: dict[str, Any], expected: list[Any]
) -> None:
    for image_format in formats.split():
        data = encoded(image, image_format, **options)
        if isinstance(expected[0], int):
            assert grey(data) == expected
            assert rgb(data) == [(value,) * 3 for value in expected]
        else:
            assert rgb(data) == expected


def test_rgb_becomes_grey_by_its_luma() -> None:
    data = encoded(row("RGB", (255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 200, 30)), "PNG")
    # round(0.299 R + 0.587 G + 0.114 B)
    assert grey(data) == [76, 150, 29, 124]
    assert rgb(data)[3] == (10, 200, 30)


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


def test_wide_integers_within_sixteen_bits() -> None:
    wide = encoded(row("I", 0, 32768, 65535), "TIFF")
    assert probe(wide).mode == "I"
    for data in (wide, png(3, 1, 16, 0, b"\x00" + struct.pack(">3H", 0, 32768, 65535))):
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


def test_cmyk_and_ycbcr_become_rgb() -> None:
    image = row("CMYK", (0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255), (0, 255, 255, 0))
    assert rgb(encoded(image, "TIFF")) == [(255, 255, 255), (0, 255, 255), (0, 0, 0), (255, 0, 0)]
    inks = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    light = Image.new("RGB", (8, 8), (200, 50, 30)).convert("YCbCr")
    for data, colour in (
        (encoded(inks, "JPEG", quality=100), [255, 0, 0]),
        (encoded(light, "TIFF"), [200, 50, 30]),
    ):
        pixels = decode(data, channels=3)
        assert np.abs(pixels.astype(int) - np.array(colour)[:, None, None]).max() <= 2


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
