"""Memory of a call against allocations counted by hand, and freed memory given back."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qkv.errors import DeviceError
from qkv.measurement import memory
from qkv.measurement.memory import free_bytes, memory_of, release_free_memory

FLOAT = 4


def test_temporaries_count_while_they_live():
    def call():
        first = torch.ones(1000)  # 4,000 bytes
        second = first + 1  # 8,000
        del first  # 4,000
        third = second.exp()  # 8,000
        fourth = torch.zeros(500)  # 10,000: the worst moment
        del third, fourth
        return second

    assert memory_of(call) == (10_000, 4_000)
    assert memory_of(call).extra_bytes == 6_000


def test_what_was_there_before_does_not_count():
    given_before = torch.ones(5000)
    assert memory_of(lambda: given_before.exp_()) == (0, 0)
    assert memory_of(lambda: given_before.exp()) == (20_000, 20_000)


@settings(max_examples=20)
@given(
    kept=st.lists(st.integers(1, 3000), max_size=4),
    passing=st.lists(st.integers(1, 3000), max_size=4),
)
def test_any_allocations(kept, passing):
    def call():
        held = [torch.empty(size) for size in kept]
        for size in passing:
            torch.empty(size)
        return held

    use = memory_of(call)
    assert use.kept_bytes == FLOAT * sum(kept)
    assert use.extra_bytes == FLOAT * max(passing, default=0)


def test_the_backward_pass_is_seen():
    # y = x·x keeps x, which is given; the gradient is x·g twice and their sum.
    x = torch.ones(1000, requires_grad=True)
    upstream = torch.ones(1000)

    def call():
        return torch.autograd.grad(x * x, x, upstream)

    use = memory_of(call)
    assert use.kept_bytes == 1000 * FLOAT
    assert 2 * 1000 * FLOAT <= use.peak_bytes <= 4 * 1000 * FLOAT


def test_a_square_matrix_is_seen_whole():
    x = torch.ones(300, 7)
    use = memory_of(lambda: (x @ x.T) @ x)
    assert use == (FLOAT * (300 * 300 + 300 * 7), FLOAT * 300 * 7)


def test_nothing_is_said():
    # In a process of its own: the profiler reads its log level when it is first used in one.
    program = (
        "import torch\n"
        "from qkv.measurement.memory import memory_of\n"
        "memory_of(lambda: torch.ones(3))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (ended.stdout, ended.stderr) == (b"", b"")


def test_the_collector_runs_on():
    memory_of(lambda: torch.ones(3))
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        memory_of(lambda: 1 / 0)
    assert gc.isenabled()
    assert memory_of(lambda: torch.ones(3)) == (12, 12)


def test_a_torch_without_a_profiler_is_refused(monkeypatch):
    monkeypatch.setattr(torch.profiler, "kineto_available", lambda: False)
    with pytest.raises(DeviceError, match="does not record memory"):
        memory_of(lambda: None)


def test_free_memory(monkeypatch, tmp_path):
    free = free_bytes()
    assert free is None or 2**20 < free < 2**60
    files = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   5000 kB\n",
        "/sys/fs/cgroup/memory.max": "3000000\n",
        "/sys/fs/cgroup/memory.current": "1000000\n",
    }

    class MadeUp(type(tmp_path)):
        def read_text(self, *_args, **_kwargs):
            if str(self) not in files:
                raise FileNotFoundError
            return files[str(self)]

    monkeypatch.setattr(memory, "Path", MadeUp)
    assert free_bytes() == 2_000_000
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert free_bytes() == 5_120_000
    del files["/proc/meminfo"]
    assert free_bytes() is None


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
