"""Moved to `qkv.files` and `qkv.data`."""

from qkv.files import cache_dir

__all__ = ["cache_dir"]
