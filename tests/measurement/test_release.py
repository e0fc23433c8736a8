"""Freed memory goes back to the system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qkv.measurement.memory import release_free_memory


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_gaps_between_blocks_in_use_are_given_back() -> None:
    if sys.platform != "linux":
        release_free_memory()  # does nothing, and does not fail
        return
    size, count = 64 * 1024, 2000  # below what glibc maps block by block
    blocks = [bytearray(b"x" * size) for _ in range(count)]
    kept = blocks[::2]  # every other one stays, so no gap is at the end
    del blocks
    before = resident_bytes()
    release_free_memory()
    assert before - resident_bytes() > size * count // 4
    assert all(block[0] == ord("x") for block in kept)


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("qkv.measurement.memory.ctypes", None)
    release_free_memory()
