"""Where tensors live and in what precision, and what machine that is."""

from __future__ import annotations

import os
import platform
import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from qkv.errors import DeviceError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16"]


def resolve_device(name: DeviceName) -> torch.device:
    """The device of that name; `auto` takes cuda, then mps, then cpu.

    Raises:
        DeviceError: torch does not see the device.
    """
    present: dict[DeviceName, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    if not present[name]:
        raise DeviceError(
            f"device {name!r} is not available to torch {torch.__version__}",
            remedy="choose device 'auto' or 'cpu'",
        )
    if name == "cuda":
        # Read by cuBLAS when it starts; without it matrix products may differ from run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return torch.device(name)


def resolve_precision(name: Precision, device: torch.device) -> torch.dtype:
    """The dtype of matrix products; `auto` takes bfloat16 where it is native and faster.

    Raises:
        DeviceError: bfloat16 was asked for and the device has none.
    """
    if name == "float32":
        return torch.float32
    if device.type == "cuda":
        native = possible = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native, possible = bfloat16_is_faster_on_cpu(), True
    else:
        native = possible = False
    if name == "bfloat16" and not possible:
        raise DeviceError(
            f"device {device.type!r} has no bfloat16 autocast",
            remedy="choose precision 'float32' or 'auto'",
        )
    return torch.bfloat16 if name == "bfloat16" or native else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[None]:
    """Within this context matrix products run in `precision`; nothing changes for float32."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=precision)


@cache
def bfloat16_is_faster_on_cpu() -> bool:
    """Whether the CPU multiplies matrices faster in bfloat16 than in float32, measured once.

    Takes a few milliseconds. Many processors emulate bfloat16, ten times as slowly as float32; a
    gain below a half is taken for chance, so that the answer is the same in every process.
    """
    pairs = {
        dtype: (torch.ones(256, 128, dtype=dtype), torch.ones(128, 128, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    best = dict.fromkeys(pairs, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for each other on a busy machine
    try:
        for number in range(5):  # in turns; the first products prepare themselves
            for dtype, (left, right) in pairs.items():
                start = time.perf_counter()
                torch.mm(left, right)
                best[dtype] = min(best[dtype], time.perf_counter() - start)
            if number and best[torch.bfloat16] > 4.0 * best[torch.float32]:
                break
    finally:
        torch.set_num_threads(threads)
    return 1.5 * best[torch.bfloat16] < best[torch.float32]


def machine_facts(device: torch.device | None = None) -> dict[str, Any]:
    """What a reported figure must name: processor, cores, memory, accelerator and versions."""
    facts: dict[str, Any] = {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bfloat16_faster": bfloat16_is_faster_on_cpu(),
    }
    if device is not None:
        facts["device"] = device.type
        if device.type == "cuda":
            facts["accelerator"] = torch.cuda.get_device_name(device)
    return facts


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return round(total / 2**30, 1)
