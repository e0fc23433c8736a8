"""A function applied to many items by threads, results in order, a bounded number in flight.

The one image shape of a folder whose files have many.

The decoded images of a folder, kept in the cache as one file of raw uint8 pixels.

A store is a folder of two files: `pixels.u8`, the images one after another, and `manifest.json`,
which says which file each image came from and the sha256 of the pixels. It is written beside its
place and renamed when complete; it is checked on every opening and made anew when it does not hold.
A change of any file's name, size or time, of the settings or of a conversion gives another store,
which takes the place of the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import PIL
from filelock import FileLock
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
from qkv.settings import Settings

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 64


def ordered_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, with at most 64 results held.

    Args:
        function: thread-safe; worth threads when it leaves the interpreter lock, as decoding does.
        items: what to work on.
        progress: called with (items done, all items) after each 64.
    """
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), _CHUNK):
            chunk = items[start : start + _CHUNK]
            yield from list(pool.map(function, chunk))
            if progress:
                progress(start + len(chunk), len(items))


IMAGE_SIZES = (28, 32, 64, 96)


def choose_shape(
    files: Sequence[FolderFile], *, image_size: int | None, channels: Channels | Literal["auto"]
) -> tuple[int, Channels]:
    """(image size, channels) to store; what is not given is chosen by the headers of all files.

    The size is the largest of `IMAGE_SIZES` that is not above the median shorter side, so that half
    of the images at least need no enlarging; never below the smallest. The channels are 1 if every
    image is grey by its mode or palette, else 3. Files without a readable header have no say.
    """
    if image_size is not None and channels != "auto":
        return image_size, channels
    facts = [one for one in ordered_map(_facts, files) if one is not None]
    if image_size is None:
        median = np.median([min(one.width, one.height) for one in facts]) if facts else 0
        image_size = max([IMAGE_SIZES[0], *(size for size in IMAGE_SIZES if size <= median)])
    if channels == "auto":
        channels = 1 if facts and all(one.grey for one in facts) else 3
    return image_size, channels


def _facts(file: FolderFile) -> ImageFacts | None:
    try:
        return probe(file.path)
    except ImageError:  # reported with all other bad files once everything has been decoded
        return None


PIXELS = "pixels.u8"
MANIFEST = "manifest.json"
_SPARE_BYTES = 64 * 2**20
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class FolderStore:
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
    format: Literal[1]
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
    progress: Callable[[int, int], None] | None = None,
) -> FolderStore:
    """Open the store of these files, decoding them first if there is none that holds.

    Args:
        files: what to decode, in the order of the store.
        root: the folder they lie in, part of the store's identity.
        image_size: side of the stored squares in pixels; None to choose by the files.
        channels: 1, 3, or "auto" to choose by the files.
        cache_root: folder for stores; created if missing.
        progress: called with (files done, all files) while decoding.

    Raises:
        BadFilesError: not one of the files can be decoded.
        DataError: the cache has too little space or cannot be written.
    """
    owner = _digest([str(root), image_size, channels])[:16]
    listing = [[file.name, file.size_bytes, file.mtime_ns] for file in files]
    state = _digest([CONVERSION_VERSION, PIL.__version__, listing])[:16]
    home = cache_root / f"{owner}-{state}"
    try:
        cache_root.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_root / f"{owner}.lock"):
            store = _opened(home, files)
            if store is None:
                _remove_all(cache_root, f".{owner}-*")  # left by a builder that was killed
                shape = choose_shape(files, image_size=image_size, channels=channels)
                _build(home, files, *shape, progress)
                store = _opened(home, files)
                _remove_all(cache_root, f"{owner}-*", but=home)
    except OSError as error:
        raise DataError(
            f"the image cache {cache_root} cannot be used ({error.strerror or error})",
            remedy="free space, correct its permissions, or choose another cache folder",
        ) from None
    if store is None:
        raise DataError(
            f"the image cache {home} does not keep what is written", remedy="check that disk"
        )
    return store


def _opened(home: Path, files: Sequence[FolderFile]) -> FolderStore | None:
    """The store at `home`, or None where it is missing, damaged or out of date."""
    try:
        manifest = _Manifest.model_validate_json((home / MANIFEST).read_bytes())
        pixels = home / PIXELS
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
    if any(file.name in unreadable and _is_readable(file) for file in files):
        return None
    return FolderStore(
        pixels=np.memmap(home / PIXELS, np.uint8, mode="r", shape=manifest.shape),
        sha256=manifest.sha256,
        names=tuple(known),
        contents=tuple(content for _, content in manifest.files),
        bad=manifest.bad,
    )


def _build(
    home: Path,
    files: Sequence[FolderFile],
    image_size: int,
    channels: Channels,
    progress: Callable[[int, int], None] | None,
) -> None:
    _check_space(home.parent, len(files) * channels * image_size**2)
    work = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        digest = hashlib.sha256()
        good: list[tuple[str, str]] = []
        bad: list[tuple[str, str]] = []
        read = partial(_read, image_size=image_size, channels=channels)
        with (work / PIXELS).open("wb", buffering=_BLOCK_BYTES) as out:
            for file, result in zip(files, ordered_map(read, files, progress), strict=True):
                if isinstance(result, str):
                    bad.append((file.name, result))
                    continue
                content, image = result
                good.append((file.name, content))
                digest.update(image.data)
                out.write(image.data)
            out.flush()
            os.fsync(out.fileno())
        if not good:
            raise BadFilesError(
                f"none of the {len(files)} files can be decoded ({bad[0][0]}: {bad[0][1]})",
                remedy="give a folder of images",
                files=bad,
            )
        manifest = _Manifest(
            format=1,
            shape=(len(good), channels, image_size, image_size),
            sha256=digest.hexdigest(),
            files=tuple(good),
            bad=tuple(bad),
        )
        with (work / MANIFEST).open("wb") as out:
            out.write(manifest.model_dump_json().encode())
            out.flush()
            os.fsync(out.fileno())
        if home.exists():
            shutil.rmtree(home)
        work.replace(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read(file: FolderFile, *, image_size: int, channels: Channels) -> tuple[str, UInt8Array] | str:
    """The sha256 of a file's bytes and its image, or the reason why there is none."""
    try:
        with file.path.open("rb") as handle:
            content = hashlib.file_digest(handle, "sha256").hexdigest()
            pixels = decode(handle, channels=channels, name=file.name)
    except ImageError as error:
        return error.problem.removeprefix(f"{file.name}: ")
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return content, resize_and_crop(pixels, image_size)


def _is_readable(file: FolderFile) -> bool:
    try:
        decode(file.path, channels=1)
    except ImageError:
        return False
    return True


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise DataError(
            f"the decoded images need {needed / 1e6:.0f} MB in {folder}, "
            f"where {free / 1e6:.0f} MB are free",
            remedy="free space, choose another cache folder, or set a smaller image_size",
        )


def _remove_all(folder: Path, pattern: str, *, but: Path | None = None) -> None:
    for old in folder.glob(pattern):
        if old != but and old.is_dir():
            shutil.rmtree(old, ignore_errors=True)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
