"""The packages that servers need, looked for before anything is measured."""

from __future__ import annotations

import importlib.util

from qkv.errors import MissingExtraError

SERVERS = ("fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client")
BASELINES = ("litserve",)


def require_packages(*, baselines: bool = True) -> None:
    """See that the servers' packages are installed, without importing them.

    Args:
        baselines: whether those of the baselines are needed too.

    Raises:
        MissingExtraError: one is not.
    """
    needed = [(name, "serve") for name in SERVERS]
    needed += [(name, "bench") for name in BASELINES if baselines]
    for package, extra in needed:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"the benchmark of serving needs {package}, which is not installed",
                remedy=f"pip install 'qkv[{extra}]'",
            )
