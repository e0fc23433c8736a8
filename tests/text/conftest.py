"""The real IMDB, for the tests that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from users_cache import users_cache

if TYPE_CHECKING:
    from qkv.data.dataset import TextDataset


@pytest.fixture(scope="session")
def imdb() -> TextDataset:
    """The real data set from this machine's caches; tests do not reach into the network."""
    from qkv.errors import DownloadError
    from qkv.text.imdb import load

    try:
        with users_cache():
            return load(local_only=True)
    except DownloadError as error:
        pytest.skip(
            "NO REAL DATA, so the real IMDB goes unchecked. Run `qkv data get imdb` and test "
            f"again. ({error.problem})"
        )
