"""The user's own cache, for fixtures of the real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_CACHE = os.environ.get("QKV_CACHE")  # as it was before any test


@contextmanager
def users_cache() -> Iterator[None]:
    """Within this context data are looked for where the user keeps them."""
    with pytest.MonkeyPatch.context() as patch:
        if _CACHE is None:
            patch.delenv("QKV_CACHE", raising=False)
        else:
            patch.setenv("QKV_CACHE", _CACHE)
        yield
