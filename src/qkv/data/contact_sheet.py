"""One picture of many: a row of thumbnails for each class, to see what the labels mean."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from qkv.data.class_folders import FolderFile
from qkv.data.dataset import ImageDataset, UInt8Array
from qkv.data.image_decode import decode, resize_and_crop
from qkv.data.image_folder import scan_image_folder
from qkv.errors import ImageError

MAX_CLASSES = 20
COLUMNS = 10
_TILE = 64
_GAP = 4
_MARGIN = 12
_FONT_SIZE = 15
_LABEL_WIDTH = 220
_INK = (20, 20, 20)
_FAINT = (95, 95, 95)


@dataclass(frozen=True)
class _Row:
    name: str
    count: int
    images: Sequence[UInt8Array]


def contact_sheet(dataset: ImageDataset) -> Image.Image:
    """Up to `COLUMNS` train images, spread evenly, for each of the first `MAX_CLASSES` classes."""
    split = dataset.train
    rows = []
    for label, name in enumerate(dataset.class_names[:MAX_CLASSES]):
        members = np.flatnonzero(split.labels == label)
        images = split.take(members[_spread(len(members))])
        rows.append(_Row(name, len(members), list(images)))
    return _draw(rows, left_out=len(dataset.class_names) - len(rows))


def contact_sheet_of_folder(root: str | os.PathLike[str]) -> Image.Image:
    """The same for an image folder, whatever its splits; files that cannot be read are left out.

    Raises:
        DataError: there is no folder, or no class folder in it.
    """
    layout = scan_image_folder(root)
    files: dict[str, list[FolderFile]] = {
        name: [] for name in sorted(set().union(*layout.class_folders.values()))
    }
    for file in layout.files:
        files[file.class_name].append(file)
    rows = []
    for name, owned in list(files.items())[:MAX_CLASSES]:
        images = []
        for index in _spread(len(owned)):
            with suppress(ImageError):
                images.append(resize_and_crop(decode(owned[index].path, channels=3), _TILE))
        rows.append(_Row(name, len(owned), images))
    return _draw(rows, left_out=len(files) - len(rows))


def _spread(count: int) -> list[int]:
    shown = min(count, COLUMNS)
    return [place * count // shown for place in range(shown)]


def _draw(rows: Sequence[_Row], *, left_out: int) -> Image.Image:
    font = ImageFont.load_default(size=_FONT_SIZE)
    names = [_fitted(row.name, font) for row in rows]
    counts = [f"{row.count:,} image{'' if row.count == 1 else 's'}" for row in rows]
    footer = f"and {left_out} more class{'' if left_out == 1 else 'es'}, left out here"
    label_width = int(max(font.getlength(text) for text in (*names, *counts))) + 1
    line = _FONT_SIZE + 5
    left = _MARGIN + label_width + _MARGIN
    columns = max(1, *(len(row.images) for row in rows)) if rows else 1
    width = left + columns * (_TILE + _GAP) - _GAP + _MARGIN
    if left_out:
        width = max(width, int(font.getlength(footer)) + 1 + 2 * _MARGIN)
    height = _MARGIN + len(rows) * (_TILE + _GAP) - _GAP + _MARGIN + (2 * line if left_out else 0)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = _MARGIN + number * (_TILE + _GAP)
        middle = top + _TILE // 2
        draw.text((_MARGIN, middle - 2), names[number], _INK, font, anchor="ls")
        draw.text((_MARGIN, middle + line - 4), counts[number], _FAINT, font, anchor="ls")
        for column, image in enumerate(row.images):
            sheet.paste(_as_tile(image), (left + column * (_TILE + _GAP), top))
    if left_out:
        draw.text((_MARGIN, height - _MARGIN), footer, _FAINT, font, anchor="ls")
    return sheet


def _as_tile(image: UInt8Array) -> Image.Image:
    pixels = np.broadcast_to(resize_and_crop(image, _TILE), (3, _TILE, _TILE))
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _fitted(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in name)
    if font.getlength(shown) <= _LABEL_WIDTH:
        return shown
    while shown and font.getlength(shown + "…") > _LABEL_WIDTH:
        shown = shown[:-1]
    return shown + "…"
