"""Which file of an image folder belongs to which split and class."""

from __future__ import annotations

import os
from pathlib import Path

from qkv.class_folders import ClassFolders, ExampleFiles, scan_class_folders
from qkv.errors import DataError
from qkv.vision.decode import SUFFIXES

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
