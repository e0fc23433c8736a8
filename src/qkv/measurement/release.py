"""Giving memory that a program has freed back to the system."""

from __future__ import annotations

import ctypes
import sys

# Batches of ever other shapes between two calls: a call every time would cost more than it saves.
BATCHES_BETWEEN = 16


def release_free_memory() -> None:
    """Return what the C library holds free, where it can be asked to.

    glibc keeps freed blocks between those in use. Work on texts of ever other lengths leaves such
    gaps until a process is several times as large as what it holds.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
