"""For every test: shapes checked at run time, one thread, and a cache that is not the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import hypothesis
import jaxtyping
import pytest
import torch

if TYPE_CHECKING:
    from qkv.data.dataset import ImageDataset, TextDataset

_CACHE = os.environ.get("QKV_CACHE")  # as it was before any test

# Before anything of qkv is imported: annotated shapes become checks.
jaxtyping.install_import_hook("qkv", "shape_checks.checked")

# The same examples every time, and no time limit: a shared machine pauses when it likes.
hypothesis.settings.register_profile("qkv", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("qkv")


@contextmanager
def users_cache() -> Iterator[None]:
    """Within this context data are looked for where the user keeps them."""
    with pytest.MonkeyPatch.context() as patch:
        if _CACHE is None:
            patch.delenv("QKV_CACHE", raising=False)
        else:
            patch.setenv("QKV_CACHE", _CACHE)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side; threads in each would only fight for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No fixture of any scope, and no test but those of the real data, uses the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKV_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(autouse=True)
def _real_cache(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests of the real data run with the user's cache."""
    real = request.node.get_closest_marker("real_data") is not None
    with users_cache() if real else nullcontext():
        yield


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Shape checks off, for tests of the errors that users see without them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def fashion_mnist() -> ImageDataset:
    """The real data set from wherever this machine can have it, except the official download.

    Tests do not reach into the outside network by themselves; the system's package tool may.
    """
    from qkv.data.fashion_mnist import FILES, load
    from qkv.errors import DownloadError

    local = replace(FILES, files=tuple(replace(file, urls=()) for file in FILES.files))
    try:
        with users_cache():
            return load(files=local)
    except DownloadError as error:
        pytest.skip(
            "NO REAL DATA, so the real Fashion-MNIST goes unchecked. Run `qkv data get "
            "fashion-mnist`, or install the Debian package dataset-fashion-mnist, and test "
            f"again. ({error.problem})"
        )


@pytest.fixture(scope="session")
def imdb() -> TextDataset:
    """The real data set from this machine's caches; tests do not reach into the network."""
    from qkv.data.imdb import load
    from qkv.errors import DownloadError

    try:
        with users_cache():
            return load(local_only=True)
    except DownloadError as error:
        pytest.skip(
            "NO REAL DATA, so the real IMDB goes unchecked. Run `qkv data get imdb` and test "
            f"again. ({error.problem})"
        )
