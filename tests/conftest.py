"""For every test: shapes checked at run time, one thread, and a cache that is not the user's."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import jaxtyping
import pytest
import torch

# Before anything of qkv is imported: annotated shapes become checks.
jaxtyping.install_import_hook("qkv", "shape_checks.checked")

# The same examples every time, and no time limit: a shared machine pauses when it likes.
hypothesis.settings.register_profile("qkv", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("qkv")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side; threads in each would only fight for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """No test but those of the real data sees or fills the user's cache."""
    if request.node.get_closest_marker("real_data") is None:
        monkeypatch.setenv("QKV_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Shape checks off, for tests of the errors that users see without them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
