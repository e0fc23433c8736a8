"""Whether the disk takes states: asked before any time is spent on them, and said if it fails."""

from __future__ import annotations

import shutil
from pathlib import Path

from qkv.errors import DataError
from qkv.text.states.keys import StoreKey
from qkv.text.states.packing import row_bytes

ROOM_BYTES = 256 * 2**20  # stays free, so that the run itself can write and no disk is left full
WRITABLE = "free the disk or make the folder writable, or set QKV_CACHE to another folder"


def require(root: Path, key: StoreKey, rows: int) -> None:
    """See that the disk under `root` can take `rows` more states and stay usable.

    Raises:
        DataError: it cannot, or nobody can say.
    """
    needed = rows * row_bytes(key.dim, key.kind)
    try:
        free = shutil.disk_usage(_existing(root)).free
    except OSError as error:
        raise unwritable(root, error) from error
    if needed + ROOM_BYTES <= free:
        return
    smaller = ""
    if key.kind == "float16":
        smaller = f', or keep states = "int8" ({size(rows * row_bytes(key.dim, "int8"))})'
    raise DataError(
        f"the states of {rows:,} tokens need {size(needed)} and {size(ROOM_BYTES)} to spare, "
        f"but {root} has {size(free)} free",
        remedy=f"free the disk, set QKV_CACHE to a folder with more room{smaller}",
    )


def size(count: int) -> str:
    """Bytes as `5.1 GB` or `812 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def unwritable(path: Path | str, error: Exception) -> DataError:
    """What to say where states cannot be kept."""
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    return DataError(f"cannot write {path}: {reason}", remedy=WRITABLE)


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), path)
