"""Giving way to the event loop, in processes of their own: only the superuser can take it back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qkv.serving.worker_process import COMPUTING_NICENESS

PROGRAM = """
import os, sys
from qkv.serving.worker_process import lower_priority
os.nice(int(sys.argv[1]))
if os.geteuid() == 0:
    os.seteuid(65534)
lower_priority()
lower_priority()
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there a thread has a niceness of its own")
@pytest.mark.parametrize("more", [0, 19])
def test_it_gives_way_once_and_never_takes_it_back(more: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(more)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) >= max(COMPUTING_NICENESS, more)
