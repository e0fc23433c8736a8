"""Devices and precisions: what is taken, and what is refused with a remedy."""

from __future__ import annotations

import json
import os

import pytest
import torch

from qkv import devices
from qkv.devices import machine_facts, resolve_device, resolve_precision
from qkv.errors import DeviceError

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The accelerators that torch sees; a test fills it. Nothing of torch's state is changed."""
    kinds: set[str] = set()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in kinds)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda _: kinds.add("determined"))
    monkeypatch.setattr(os, "environ", {})
    return kinds


@pytest.mark.parametrize(
    ("seen", "chosen"),
    [(set(), "cpu"), ({"mps"}, "mps"), ({"cuda"}, "cuda"), ({"mps", "cuda"}, "cuda")],
)
def test_auto_takes_the_fastest(present: set[str], seen: set[str], chosen: str) -> None:
    present |= seen
    assert resolve_device("auto").type == chosen


def test_cuda_is_made_repeatable(present: set[str]) -> None:
    present.add("cuda")
    assert resolve_device("cuda") == CUDA
    assert "determined" in present
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_the_cpu_is_left_as_it_is(present: set[str]) -> None:
    present |= {"cuda", "mps"}
    assert resolve_device("cpu") == CPU
    assert "determined" not in present


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_an_absent_device(present: set[str], name: devices.DeviceName) -> None:
    with pytest.raises(DeviceError, match=f"device '{name}' is not available") as caught:
        resolve_device(name)
    assert caught.value.remedy == "choose device 'auto' or 'cpu'"


@pytest.mark.parametrize("faster", [False, True])
def test_precision_on_a_cpu(monkeypatch: pytest.MonkeyPatch, faster: bool) -> None:
    monkeypatch.setattr(devices, "bfloat16_is_faster_on_cpu", lambda: faster)
    assert resolve_precision("float32", CPU) == torch.float32
    assert resolve_precision("bfloat16", CPU) == torch.bfloat16
    assert resolve_precision("auto", CPU) == (torch.bfloat16 if faster else torch.float32)


@pytest.mark.parametrize(("bfloat16_takes", "faster"), [(0.2, True), (0.9, False), (20.0, False)])
def test_a_cpu_is_measured_once(
    monkeypatch: pytest.MonkeyPatch, bfloat16_takes: float, faster: bool
) -> None:
    now, products = 0.0, 0

    def mm(left: torch.Tensor, _: torch.Tensor) -> None:
        nonlocal now, products
        now += bfloat16_takes if left.dtype == torch.bfloat16 else 1.0
        products += 1

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(devices.time, "perf_counter", lambda: now)
    devices.bfloat16_is_faster_on_cpu.cache_clear()
    assert devices.bfloat16_is_faster_on_cpu() == faster
    assert devices.bfloat16_is_faster_on_cpu() == faster
    assert products == (4 if bfloat16_takes > 4.0 else 10)
    assert torch.get_num_threads() == 1
    devices.bfloat16_is_faster_on_cpu.cache_clear()


@pytest.mark.parametrize("native", [False, True])
def test_precision_on_cuda(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: native)
    assert resolve_precision("auto", CUDA) == (torch.bfloat16 if native else torch.float32)
    if native:
        assert resolve_precision("bfloat16", CUDA) == torch.bfloat16
    else:
        with pytest.raises(DeviceError, match="no bfloat16"):
            resolve_precision("bfloat16", CUDA)


def test_precision_where_autocast_is_not_there() -> None:
    assert resolve_precision("auto", MPS) == torch.float32
    with pytest.raises(DeviceError, match="'mps' has no bfloat16 autocast"):
        resolve_precision("bfloat16", MPS)


def test_facts_name_the_machine_and_are_plain_json() -> None:
    facts = machine_facts(CPU)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["processor"]
    assert facts["cores"] == os.cpu_count()
    assert facts["threads"] == torch.get_num_threads()
    assert facts["device"] == "cpu"
    assert facts["torch"] == torch.__version__
    assert facts["memory_gib"] > 0.1
    assert "device" not in machine_facts()
