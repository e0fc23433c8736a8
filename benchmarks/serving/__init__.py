"""What the benchmarks of serving are made of: load, baselines, processes, and the search."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def module_environment() -> dict[str, str]:
    """The environment of this process, so changed that `python -m benchmarks.…` works anywhere."""
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(ROOT), *([inherited] if inherited else [])])
    return {**os.environ, "PYTHONPATH": path}
