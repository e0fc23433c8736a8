"""The user's own images: a folder for each class, read once into a store of decoded pixels.

`class_folders` says how such a folder may be laid out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from qkv.data.class_folders import ClassFolders, ExampleFiles, FolderFile, scan_class_folders
from qkv.data.dataset import (
    SPLIT_NAMES,
    ImageDataset,
    ImageSplit,
    Skipped,
    SplitFractions,
    SplitName,
    and_more,
    carve_notes,
    carve_splits,
    equals,
    groups_of_equals,
    refuse_bad,
    require_enough,
)
from qkv.data.image_decode import SUFFIXES, Channels
from qkv.data.image_store import ImageStore, open_store
from qkv.errors import DataError
from qkv.files import cache_dir
from qkv.progress import Progress

IMAGES = ExampleFiles(
    what="images",
    suffixes=SUFFIXES,
    only=None,
    train="train/{class}/…",
    remedy="give a folder laid out as {train,val,test}/{class}/… or {class}/…",
)


class ImageFolderSettings(SplitFractions):
    """How the images of a folder are read and divided."""

    image_size: int | None = Field(default=None, ge=8, le=1024, multiple_of=4)
    """Side of the square every image is scaled and cropped to, pixels, a multiple of 4. None takes
    the largest of 28, 32, 64 and 96 that is not above the median shorter side, at least 28."""

    channels: Literal["auto", 1, 3] = "auto"
    """1 (grey) or 3 (RGB); auto takes 1 if every image's mode or palette is grey, else 3."""


def scan_image_folder(root: str | os.PathLike[str]) -> ClassFolders:
    """List the files of an image folder with their split and class.

    Raises:
        DataError: the root is missing or no folder, its layout is ambiguous, or no file lies in a
            class folder.
    """
    given = Path(root)
    if not given.exists():
        raise DataError(f"there is no folder {given}", remedy="check the path")
    if not given.is_dir():
        raise DataError(f"{given} is a file, not a folder of images", remedy=IMAGES.remedy)
    return scan_class_folders(given, IMAGES)


def load_image_folder(
    root: str | os.PathLike[str],
    settings: ImageFolderSettings | None = None,
    *,
    seed: int,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> ImageDataset:
    """Read a folder of images, decoding it into the cache the first time.

    A split that the folder does not give is carved from its train images: drawn by `seed`, the same
    share of every class, files of equal content on one side.

    Args:
        root: the folder.
        settings: the defaults if None.
        seed: rules which images go to which carved split.
        skip_bad: leave out files that cannot be used and record them in `skipped`.
        progress: called with (files done, all files) while decoding.

    Raises:
        BadFilesError: files cannot be used and `skip_bad` is False; all were tried.
        DataError: the folder is missing, has no two classes, a class is empty or too small, a class
            is missing from train, the same file lies in two splits, or the cache cannot hold the
            images.
    """
    settings = settings or ImageFolderSettings()
    layout = scan_image_folder(root)
    class_names = _classes(layout)
    shape = settings.image_size, settings.channels
    store, everything, skipped = _decoded(
        layout, layout.files, class_names, *shape, skip_bad=skip_bad, progress=progress
    )
    by_name = {file.name: file for file in layout.files}
    files = [by_name[name] for name in store.names]
    copies = [[files[i] for i in group] for group in groups_of_equals(store.contents)]
    # The same file in two splits: a test on it would prove nothing.
    pairs = [(a.name, b.name) for a, *more in copies for b in more if b.split != a.split]
    if pairs:
        raise DataError(
            f"the same image lies in two splits: {equals(pairs)}", remedy="remove one copy of each"
        )
    torn = [[f.name for f in group] for group in copies if len({f.class_name for f in group}) > 1]
    splits = {
        split: everything.subset(np.flatnonzero([file.split == split for file in files]))
        for split in layout.class_folders
    }
    pool, missing = splits["train"], settings.missing(splits)
    keys = [store.contents[row] for row in pool.rows]
    carved = carve_splits(pool, keys, missing, class_names=class_names, seed=seed)
    splits = {name: split for name, split in (splits | carved).items() if len(split)}
    return ImageDataset(
        name=layout.root.name,
        class_names=class_names,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        source=f"folder {layout.root}",
        sha256={"store": store.sha256},
        skipped=skipped,
        notes=(
            *carve_notes(carved, seed=seed),
            *([f"the same image under different labels: {equals(torn)}"] if torn else []),
        ),
    )


def load_labelled_images(
    root: str | os.PathLike[str],
    class_names: Sequence[str],
    *,
    image_size: int,
    channels: Channels,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> tuple[ImageSplit, tuple[Skipped, ...]]:
    """The images of a folder as one split labelled by a model's classes, to evaluate it on.

    A folder with splits gives its test images; one of class folders alone gives all its images. It
    may lack some of `class_names`. `image_size` (pixels) and `channels` are the model's; other
    arguments as of `load_image_folder`.

    Raises:
        BadFilesError: files cannot be used and `skip_bad` is False; all were tried.
        DataError: the folder is missing, has no test images, or has a class the model lacks.
    """
    layout = scan_image_folder(root)
    wanted: SplitName = "test" if layout.has_splits else "train"
    chosen = [file for file in layout.files if file.split == wanted]
    unknown = sorted({file.class_name for file in chosen} - set(class_names))
    if unknown:
        raise DataError(
            f"class {unknown[0]!r} in {layout.root} is not one of the model's"
            + and_more(unknown[1:]),
            remedy=f"the model knows {', '.join(class_names)}",
        )
    if not chosen:
        raise DataError(
            f"{layout.root} has no test images",
            remedy="name a folder with a test split, or one with a folder for each class",
        )
    _, split, skipped = _decoded(
        layout, chosen, class_names, image_size, channels, skip_bad=skip_bad, progress=progress
    )
    return split, skipped


def _decoded(
    layout: ClassFolders,
    files: Sequence[FolderFile],
    class_names: Sequence[str],
    image_size: int | None,
    channels: Literal["auto", 1, 3],
    *,
    skip_bad: bool,
    progress: Progress | None,
) -> tuple[ImageStore, ImageSplit, tuple[Skipped, ...]]:
    """The store of the files, all its images as one split, and what was left out."""
    store = open_store(
        files,
        root=layout.root,
        image_size=image_size,
        channels=channels,
        cache_root=cache_dir() / "images",
        progress=progress,
    )
    bad = sorted((*layout.bad, *store.bad))
    good = len(layout.files) - len(store.bad)
    refuse_bad(bad, good, kind="file", root=layout.root, skip_bad=skip_bad)
    class_of = {file.name: class_names.index(file.class_name) for file in files}
    labels = np.array([class_of[name] for name in store.names], dtype=np.int64)
    split = ImageSplit(store.pixels, np.arange(len(labels), dtype=np.int64), labels, store.names)
    return store, split, tuple(Skipped(*each) for each in bad)


def _classes(layout: ClassFolders) -> tuple[str, ...]:
    if empty := layout.empty:
        raise DataError(
            f"class folder {empty[0]!r} is empty" + and_more(empty[1:]),
            remedy="add images to it or remove it",
        )
    names = layout.class_folders["train"]
    if len(names) < 2:
        raise DataError(
            f"{layout.root} has a single class, {names[0]!r}"
            if names
            else f"{layout.root} has a train folder without classes",
            remedy="add a second class folder, or name the folder that holds the class folders",
        )
    for split, others in layout.class_folders.items():
        if unknown := [name for name in others if name not in names]:
            raise DataError(
                f"class {unknown[0]!r} is in {split} but not in train" + and_more(unknown[1:]),
                remedy="add it to train, correct its name, or remove it",
            )
    missing = [split for split in SPLIT_NAMES if split not in layout.class_folders]
    labels = [names.index(file.class_name) for file in layout.files if file.split == "train"]
    require_enough(np.array(labels, dtype=np.int64), names, ["train", *missing], noun="image")
    return names
