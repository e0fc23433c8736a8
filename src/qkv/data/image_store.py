"""Decoded images of a folder, kept in the cache as one file of raw uint8 pixels.

A store is two files of one name: `.u8`, the images one after another, and `.json`, which says which
file each image came from and the sha256 of the pixels. Both are checked on every opening and made
anew when they do not hold. A change of any file's name, size or time, of the settings or of a
conversion gives another store, which takes the place of the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import numpy as np
import PIL
from pydantic import ValidationError

from qkv.data.class_folders import FolderFile
from qkv.data.dataset import UInt8Array
from qkv.data.image_decode import (
    CONVERSION_VERSION,
    Channels,
    ImageFacts,
    decode,
    probe,
    resize_and_crop,
)
from qkv.errors import BadFilesError, DataError, ImageError
from qkv.files import locked, replacing, require_space
from qkv.progress import Progress
from qkv.settings import Settings

IMAGE_SIZES = (28, 32, 64, 96)

_SPARE_BYTES = 64 * 2**20
_BLOCK_BYTES = 2**20
_IN_FLIGHT = 64

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageStore:
    """Decoded images and where they came from.

    Attributes:
        pixels: read-only memory map, uint8 (images, channels, size, size).
        sha256: of the pixels.
        names: the file of each image, relative to the root.
        contents: sha256 of the bytes of each of these files.
        bad: (name, reason) of the files that could not be decoded.
    """

    pixels: UInt8Array
    sha256: str
    names: tuple[str, ...]
    contents: tuple[str, ...]
    bad: tuple[tuple[str, str], ...]


class _Manifest(Settings):
    format: Literal[2]
    shape: tuple[int, int, int, int]
    sha256: str
    files: tuple[tuple[str, str], ...]
    bad: tuple[tuple[str, str], ...]


def open_store(
    files: Sequence[FolderFile],
    *,
    root: Path,
    image_size: int | None,
    channels: Channels | Literal["auto"],
    cache_root: Path,
    progress: Progress | None = None,
) -> ImageStore:
    """Open the store of these files, in this order, decoding them first if there is none.

    `root`, the folder of the files, is part of the store's identity; `image_size` (the side of the
    stored squares in pixels) and `channels` as of `choose_shape`; `cache_root` is made if missing.
    `progress` is called with (files done, all files) while decoding.

    Raises:
        BadFilesError: not one of the files can be decoded.
        DataError: the cache has too little space or cannot be written.
    """
    owner = _digest([str(root), image_size, channels])[:16]
    listing = [[file.name, file.size_bytes, file.mtime_ns] for file in files]
    state = _digest([CONVERSION_VERSION, PIL.__version__, listing])[:16]
    pixels = cache_root / f"{owner}-{state}.u8"
    try:
        with locked(cache_root / f"{owner}.lock"):
            store = _opened(pixels, files)
            if store is None:
                shape = choose_shape(files, image_size=image_size, channels=channels)
                _build(pixels, files, *shape, progress)
                store = _opened(pixels, files)
                # What is out of date, or left by a build that was killed.
                old = {*cache_root.glob(f"{owner}-*"), *cache_root.glob(f".{owner}-*")}
                for path in old - {pixels, pixels.with_suffix(".json")}:
                    if path.is_file():
                        path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"the image cache {cache_root} cannot be used ({error.strerror or error})",
            remedy="free space, correct its permissions, or choose another cache folder",
        ) from None
    if store is None:
        raise DataError(
            f"the image cache {pixels} does not keep what is written", remedy="check that disk"
        )
    return store


def choose_shape(
    files: Sequence[FolderFile], *, image_size: int | None, channels: Channels | Literal["auto"]
) -> tuple[int, Channels]:
    """(image size, channels) to store; what is not given is chosen by the headers of all files.

    The size is the largest of `IMAGE_SIZES` that is not above the median shorter side, never below
    the smallest; the channels are 1 if every image is grey by its mode or palette, else 3.
    """
    if image_size is not None and channels != "auto":
        return image_size, channels

    def header(file: FolderFile) -> ImageFacts | None:
        with suppress(ImageError):  # reported once everything has been decoded
            return probe(file.path)
        return None

    facts = [one for one in ordered_map(header, files) if one is not None]
    if image_size is None:
        median = np.median([min(one.width, one.height) for one in facts]) if facts else 0
        image_size = max([IMAGE_SIZES[0], *(size for size in IMAGE_SIZES if size <= median)])
    if channels == "auto":
        channels = 1 if facts and all(one.grey for one in facts) else 3
    return image_size, channels


def ordered_map(
    function: Callable[[Item], Result], items: Sequence[Item], progress: Progress | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, by threads, with at most 64 results held.

    `progress` is called with (items done, all items) after each 64.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(items), _IN_FLIGHT):
            chunk = items[start : start + _IN_FLIGHT]
            yield from list(pool.map(function, chunk))
            if progress:
                progress(start + len(chunk), len(items))


def read_file(file: FolderFile, use: Callable[[BinaryIO], Result]) -> tuple[str, Result] | str:
    """The sha256 of a file's bytes and what `use` makes of it, or the reason why it cannot."""
    try:
        with file.path.open("rb") as handle:
            content = hashlib.file_digest(handle, "sha256").hexdigest()
            return content, use(handle)
    except ImageError as error:
        return error.problem.partition(": ")[2]  # without the name of the image
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _opened(pixels: Path, files: Sequence[FolderFile]) -> ImageStore | None:
    """The store of these pixels, or None where it is missing, damaged or out of date."""
    try:
        manifest = _Manifest.model_validate_json(pixels.with_suffix(".json").read_bytes())
        if min(manifest.shape) < 1 or pixels.stat().st_size != np.prod(manifest.shape):
            return None
        with pixels.open("rb") as handle:
            if hashlib.file_digest(handle, "sha256").hexdigest() != manifest.sha256:
                return None
    except (FileNotFoundError, ValidationError):
        return None
    known = [name for name, _ in manifest.files]
    unreadable = {name for name, _ in manifest.bad}
    if known != [file.name for file in files if file.name not in unreadable]:
        return None
    # A file may have become readable without a trace in its size and time (its permissions, say).
    again = [file for file in files if file.name in unreadable]
    if any(not isinstance(_read(file, image_size=1, channels=1), str) for file in again):
        return None
    return ImageStore(
        pixels=np.memmap(pixels, np.uint8, mode="r", shape=manifest.shape),
        sha256=manifest.sha256,
        names=tuple(known),
        contents=tuple(content for _, content in manifest.files),
        bad=manifest.bad,
    )


def _build(
    pixels: Path,
    files: Sequence[FolderFile],
    image_size: int,
    channels: Channels,
    progress: Progress | None,
) -> None:
    require_space(
        pixels.parent,
        len(files) * channels * image_size**2,
        what="the decoded images need",
        remedy="free space, choose another cache folder, or set a smaller image_size",
        spare_bytes=_SPARE_BYTES,
    )
    digest = hashlib.sha256()
    good: list[tuple[str, str]] = []
    bad: list[tuple[str, str]] = []
    read = partial(_read, image_size=image_size, channels=channels)
    with replacing(pixels) as temporary:
        with temporary.open("wb", buffering=_BLOCK_BYTES) as out:
            for file, result in zip(files, ordered_map(read, files, progress), strict=True):
                if isinstance(result, str):
                    bad.append((file.name, result))
                    continue
                content, image = result
                good.append((file.name, content))
                digest.update(image.data)
                out.write(image.data)
        if not good:
            raise BadFilesError(
                f"none of the {len(files)} files can be decoded ({bad[0][0]}: {bad[0][1]})",
                remedy="give a folder of images",
                files=bad,
            )
    manifest = _Manifest(
        format=2,
        shape=(len(good), channels, image_size, image_size),
        sha256=digest.hexdigest(),
        files=tuple(good),
        bad=tuple(bad),
    )
    with replacing(pixels.with_suffix(".json")) as temporary:
        temporary.write_text(manifest.model_dump_json(), encoding="utf-8")


def _read(file: FolderFile, *, image_size: int, channels: Channels) -> tuple[str, UInt8Array] | str:
    return read_file(file, lambda raw: resize_and_crop(decode(raw, channels=channels), image_size))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
