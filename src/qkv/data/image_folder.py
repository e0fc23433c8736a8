"""Which file of an image folder belongs to which split and class.

Files of equal content within an image folder: a leak between splits, or a torn label.

Splits carved from one pool of images, so that equal files never face each other.

A folder of the user's own images as a data set. `layout` says how it may be laid out.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from qkv.data.class_folders import ClassFolders, ExampleFiles, FolderFile, scan_class_folders
from qkv.data.dataset import (
    SPLIT_NAMES,
    ImageDataset,
    ImageSplit,
    IntArray,
    Skipped,
    SplitName,
    carve_splits,
    equal_units,
)
from qkv.data.image_decode import SUFFIXES
from qkv.data.image_store import FolderStore, open_store
from qkv.errors import BadFilesError, DataError
from qkv.settings import Settings

IMAGES = ExampleFiles(
    what="images",
    suffixes=frozenset(SUFFIXES),
    only=None,
    train="train/{class}/…",
    remedy="give a folder laid out as {train,val,test}/{class}/… or {class}/…",
)


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


_SHOWN_COPIES = 3


def groups_of_copies(
    files: Sequence[FolderFile], contents: Sequence[str]
) -> list[list[FolderFile]]:
    """Every group of two or more files with equal bytes, in order of their first file.

    Args:
        files: any files.
        contents: a hash of the bytes of each.
    """
    groups: defaultdict[str, list[FolderFile]] = defaultdict(list)
    for file, content in zip(files, contents, strict=True):
        groups[content].append(file)
    return [group for group in groups.values() if len(group) > 1]


def refuse_copies_across_splits(files: Sequence[FolderFile], contents: Sequence[str]) -> None:
    """Refuse a folder that gives the same file in two splits: a test on it would prove nothing.

    Raises:
        DataError: naming the first pairs.
    """
    pairs = [
        f"{group[0].name} = {file.name}"
        for group in groups_of_copies(files, contents)
        for file in group[1:]
        if file.split != group[0].split
    ]
    if pairs:
        raise DataError(
            f"the same image lies in two splits: {', '.join(pairs[:_SHOWN_COPIES])}"
            + and_more(pairs[_SHOWN_COPIES:]),
            remedy="remove one copy of each",
        )


def copies_across_classes(files: Sequence[FolderFile], contents: Sequence[str]) -> list[str]:
    """At most one remark, naming the first files that carry different labels with equal content."""
    torn = [
        group
        for group in groups_of_copies(files, contents)
        if len({file.class_name for file in group}) > 1
    ]
    if not torn:
        return []
    shown = ", ".join(" = ".join(file.name for file in group) for group in torn[:_SHOWN_COPIES])
    return [f"the same image under different labels: {shown}" + and_more(torn[_SHOWN_COPIES:])]


def and_more(rest: Sequence[object]) -> str:
    """What a list that was cut short ends with."""
    return f" (and {len(rest)} more)" if rest else ""


def carve_images(
    labels: IntArray,
    contents: Sequence[str],
    fractions: Mapping[SplitName, float],
    *,
    class_names: Sequence[str],
    seed: int,
) -> dict[SplitName, IntArray]:
    """Divide a pool into train and the asked splits, the same share of every class.

    Files of equal content are one unit and go to one side together; a unit counts for the class of
    its first file.

    Args:
        labels: int64 (examples,).
        contents: a hash of each example's file.
        fractions: of the whole pool, by split; the rest is `"train"`.
        class_names: for messages.
        seed: rules the draw.

    Returns:
        Sorted indices into the pool, for `"train"` and each key of `fractions`; together they are
        every index once.

    Raises:
        DataError: a class has too few distinct images to give each split one.
    """
    unit_of, first = equal_units(contents)
    unit_labels = labels[first]
    sides: tuple[SplitName, ...] = ("train", *fractions)
    require_enough(unit_labels, class_names, sides, what="distinct image")
    return carve_splits(unit_labels, unit_of, fractions, seed=seed)


def require_enough(
    labels: IntArray, class_names: Sequence[str], splits: Sequence[SplitName], *, what: str
) -> None:
    """Refuse a class that cannot give each of `splits` an image, and train two.

    Args:
        labels: of the images to divide.
        class_names: the name of each label.
        splits: what they are divided into.
        what: what is counted, for the message: "image" or "distinct image".

    Raises:
        DataError: naming the first such class.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    needed = max(2, len(splits))
    small = [name for name, count in zip(class_names, counts, strict=True) if count < needed]
    if small:
        count = counts[class_names.index(small[0])]
        why = f" (one each for {', '.join(splits)})" if len(splits) > 1 else " to train on"
        more = f", and {len(small) - 1} more classes alike" if len(small) > 1 else ""
        raise DataError(
            f"class {small[0]!r} has {count} {what}{'' if count == 1 else 's'}, "
            f"needs at least {needed}{why}{more}",
            remedy="add images to it or remove its folder",
        )


_SHOWN = 3


class ImageFolderSettings(Settings):
    """How the images of a folder are read and divided."""

    image_size: int | None = Field(default=None, ge=8, le=1024, multiple_of=4)
    """Side of the square every image is scaled and cropped to, pixels, a multiple of 4. None takes
    the largest of 28, 32, 64 and 96 that is not above the median shorter side, at least 28."""

    channels: Literal["auto", 1, 3] = "auto"
    """1 (grey) or 3 (RGB); auto takes 1 if every image's mode or palette is grey, else 3."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the undivided images for validation, where the folder has no such split; 0 to 1."""

    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the undivided images for the test, where the folder has no such split; 0 to 1."""

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        return self


def load_image_folder(
    root: str | os.PathLike[str],
    settings: ImageFolderSettings | None = None,
    *,
    seed: int,
    skip_bad: bool = False,
    cache_root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageDataset:
    """Read a folder of images, decoding it into the cache the first time.

    A split that the folder does not give is carved from its train images: drawn by `seed`, the same
    share of every class, files of equal content on one side.

    Args:
        root: the folder.
        settings: the defaults if None.
        seed: rules which images go to which carved split.
        skip_bad: leave out files that cannot be used and record them in `skipped`.
        cache_root: where decoded images are kept; qkv's cache folder if None.
        progress: called with (files done, all files) while decoding.

    Raises:
        BadFilesError: files cannot be used and `skip_bad` is False; all were tried.
        DataError: the folder is missing, has no two classes, a class is empty or too small, a class
            is missing from train, the same file lies in two splits, or the cache cannot hold the
            images.
    """
    settings = settings or ImageFolderSettings()
    layout = scan_image_folder(root)
    _check_classes(layout)
    store = open_store(
        layout.files,
        root=layout.root,
        image_size=settings.image_size,
        channels=settings.channels,
        cache_root=cache_root or _default_cache_root(),
        progress=progress,
    )
    bad = sorted((*layout.bad, *store.bad))
    if bad and not skip_bad:
        raise _bad_files(layout, bad)
    return _assemble(layout, store, settings, seed, bad)


def load_labelled_images(
    root: str | os.PathLike[str],
    class_names: Sequence[str],
    *,
    image_size: int,
    channels: Literal[1, 3],
    skip_bad: bool = False,
    cache_root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ImageSplit, tuple[Skipped, ...]]:
    """The images of a folder as one split labelled by a model's classes, to evaluate it on.

    A folder with splits gives its test images; one of class folders alone gives all its images.

    Args:
        root: the folder.
        class_names: the model's classes, in label order; the folder may lack some of them.
        image_size: side of the model's input, in pixels.
        channels: channels of the model's input.
        skip_bad: leave out files that cannot be used and return them.
        cache_root: where decoded images are kept; qkv's cache folder if None.
        progress: called with (files done, all files) while decoding.

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
    store = open_store(
        chosen,
        root=layout.root,
        image_size=image_size,
        channels=channels,
        cache_root=cache_root or _default_cache_root(),
        progress=progress,
    )
    bad = sorted((*layout.bad, *store.bad))
    if bad and not skip_bad:
        raise _bad_files(layout, bad)
    by_name = {file.name: file.class_name for file in chosen}
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = np.array([numbers[by_name[name]] for name in store.names], dtype=np.int64)
    rows = np.arange(len(labels), dtype=np.int64)
    skipped = tuple(Skipped(name, reason) for name, reason in bad)
    return ImageSplit(store.pixels, rows, labels, store.names), skipped


def _check_classes(layout: ClassFolders) -> None:
    if empty := layout.empty_classes():
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
    require_enough(np.array(labels, dtype=np.int64), names, ["train", *missing], what="image")


def _bad_files(layout: ClassFolders, bad: Sequence[tuple[str, str]]) -> BadFilesError:
    total = len(layout.files) + len(layout.bad)
    shown = "; ".join(f"{name} {reason}" for name, reason in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return BadFilesError(
        f"{len(bad)} of {total} files in {layout.root} cannot be used: {shown}{more}",
        remedy="repair or remove them, or leave them out with --skip-bad",
        files=bad,
    )


def _assemble(
    layout: ClassFolders,
    store: FolderStore,
    settings: ImageFolderSettings,
    seed: int,
    bad: Sequence[tuple[str, str]],
) -> ImageDataset:
    class_names = layout.class_folders["train"]
    by_name = {file.name: file for file in layout.files}
    files = [by_name[name] for name in store.names]
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = np.array([numbers[file.class_name] for file in files], dtype=np.int64)
    refuse_copies_across_splits(files, store.contents)

    rows: dict[SplitName, IntArray] = {
        split: np.array([i for i, file in enumerate(files) if file.split == split], dtype=np.int64)
        for split in layout.class_folders
    }
    asked: dict[SplitName, float] = {
        "test": settings.test_fraction,
        "validation": settings.validation_fraction,
    }
    pool = rows["train"]
    carved = carve_images(
        labels[pool],
        [store.contents[row] for row in pool],
        {split: share for split, share in asked.items() if split not in rows},
        class_names=class_names,
        seed=seed,
    )
    rows |= {split: pool[indices] for split, indices in carved.items()}

    splits = {
        split: ImageSplit(
            store.pixels, chosen, labels[chosen], tuple(store.names[row] for row in chosen)
        )
        for split, chosen in rows.items()
        if len(chosen)
    }
    return ImageDataset(
        name=layout.root.name,
        class_names=class_names,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        source=f"folder {layout.root}",
        sha256={"store": store.sha256},
        skipped=tuple(Skipped(name, reason) for name, reason in bad),
        notes=(*_split_notes(rows, carved, seed), *copies_across_classes(files, store.contents)),
    )


def _split_notes(
    rows: dict[SplitName, IntArray], carved: dict[SplitName, IntArray], seed: int
) -> list[str]:
    taken = [split for split in SPLIT_NAMES if split in carved and split != "train"]
    if not taken:
        return []
    sizes = " and ".join(f"{len(rows[split])} for {split}" for split in taken)
    return [f"carved from the train images by seed {seed}: {sizes}"]


def _default_cache_root() -> Path:
    from qkv.sources import cache_dir  # reading settings must not need the machine's folders

    return cache_dir() / "images"
