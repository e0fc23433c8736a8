"""What the user named as inputs, as a list of files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from qkv.data.image_decode import SUFFIXES
from qkv.errors import DataError


def expand_inputs(inputs: Sequence[Path]) -> list[Path]:
    """Files as they are named, and the images below each folder, sorted.

    Hidden files and folders are left out of folders. A file that is named stays in the list even if
    it is not there, so that it gets its own error among the answers.

    Raises:
        DataError: a folder has no image, or no input exists.
    """
    if not any(path.exists() for path in inputs):
        more = f" (and {len(inputs) - 1} more)" if len(inputs) > 1 else ""
        raise DataError(f"there is no {inputs[0]}{more}", remedy="name images or folders of images")
    files: list[Path] = []
    for path in inputs:
        files += _images_below(path) if path.is_dir() else [path]
    return files


def _images_below(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    if not found:
        raise DataError(
            f"{root} holds no image", remedy=f"images end in {', '.join(sorted(SUFFIXES))}"
        )
    return sorted(found)


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"{error.filename} cannot be listed ({error.strerror})",
        remedy="correct its permissions",
    ) from None
