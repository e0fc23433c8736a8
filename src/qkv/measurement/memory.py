"""How much memory a call takes, and how much there is."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from qkv.errors import DeviceError


class MemoryUse(NamedTuple):
    """Bytes that torch's allocator gave to one call.

    Attributes:
        peak_bytes: held at the worst moment, beyond all that was held before the call.
        kept_bytes: still held at the end, which is what the call returns.
    """

    peak_bytes: int
    kept_bytes: int

    @property
    def extra_bytes(self) -> int:
        """At the worst moment, beyond what was there before and what is returned."""
        return self.peak_bytes - self.kept_bytes


def memory_of(call: Callable[[], object]) -> MemoryUse:
    """Call once and follow what is allocated on the CPU.

    Every allocation and release of torch is recorded by its profiler and added up in order, so that
    the figure is exact to the byte, the same each time, and blind to whatever else the process
    does. What a mathematical library takes for itself behind torch's back (MKL packs blocks of a
    matrix, for one) is not seen. Memory counts as kept as long as the returned object holds it.

    The first call of a kind may fill caches that stay; call once before measuring.

    Raises:
        DeviceError: this torch cannot record memory.
    """
    if not torch.profiler.kineto_available():
        raise DeviceError(
            f"torch {torch.__version__} does not record memory",
            remedy="install a torch that has its profiler",
        )
    collects = gc.isenabled()
    # A collection within the call would release memory of others and count it to the call's credit.
    gc.disable()
    try:
        return _recorded(call)
    finally:
        if collects:
            gc.enable()


def free_bytes() -> int | None:
    """Main memory that can be had without swapping; None where it is unknown.

    On Linux the kernel's own estimate, or what the process's group may still take if that is less.
    """
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        kilobytes = meminfo.partition("MemAvailable:")[2].split()[0]
    except (OSError, IndexError):
        return None
    left = [int(kilobytes) * 1024]
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        left.append(max(0, int(limit) - int(used)))
    except (OSError, ValueError):
        pass  # no group, or one without a limit
    return min(left)


def _recorded(call: Callable[[], object]) -> MemoryUse:
    # The profiler's library announces each start and stop on standard error unless told not to.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = call()
    del result
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    return _add_up(events)


def _add_up(events: Iterable[dict[str, Any]]) -> MemoryUse:
    """Follow the sum of the [memory] events of a trace in order of time."""
    changes = sorted(
        (event["ts"], event["args"]["Ev Idx"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0
    )
    held = peak = 0
    for _, _, change in changes:
        held += change
        peak = max(peak, held)
    return MemoryUse(peak, held)


# Batches of ever other shapes between two calls: a call every time would cost more than it saves.
BATCHES_BETWEEN = 16


def release_free_memory() -> None:
    """Return memory that the C library holds free to the system, where it offers a call for it.

    glibc keeps freed blocks between those in use. Work on texts of ever other lengths leaves such
    gaps until a process is several times as large as what it holds.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
