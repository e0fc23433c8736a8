"""Protections around the application, each an ASGI middleware that knows nothing of the others."""

from __future__ import annotations

from qkv.serving.guard.keys import Keys, read_keys
from qkv.serving.guard.stack import guard
from qkv.serving.guard.traffic import Traffic

__all__ = ["Keys", "Traffic", "guard", "read_keys"]
