"""Where a new run goes, and whether there is room for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from qkv.errors import RunError

FORECAST_ROOM = 1.2


def free_folder(name: str) -> Path:
    """`runs/NAME`, or `runs/NAME-2` and so on when it is taken."""
    first = Path("runs") / name
    number, path = 1, first
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


def require_disk(path: Path, needed_bytes: int) -> None:
    """See that a run fits.

    Raises:
        RunError: the disk has less room than the run needs and some to spare.
    """
    free = shutil.disk_usage(path).free
    if free < FORECAST_ROOM * needed_bytes:
        raise RunError(
            f"the run needs {needed_bytes / 2**20:.0f} MiB and the disk of {path} has "
            f"{free / 2**20:.0f} MiB left",
            remedy="free the disk or choose another folder with --out",
        )
