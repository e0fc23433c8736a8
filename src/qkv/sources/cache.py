"""The folder in which qkv keeps what it can fetch or compute again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """The cache: `$QKV_CACHE` if set, else the user's cache folder; it may not exist yet."""
    chosen = os.environ.get("QKV_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("qkv", appauthor=False)
