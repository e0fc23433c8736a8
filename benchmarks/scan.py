"""A recurrence over a million steps: the scan, a Python loop, and what a cumulative sum can do.

The recurrence is the alternating one, h_t = x_t − h_{t−1}, because there a cumulative sum gives the
same states: h = s ⊙ cumsum(s ⊙ x) with s_t = (−1)^t. That is the best case of one recurrence, so it
is what the scan, which takes any decay, is held against. A decay of its own for every step, where
no cumulative sum helps, is timed beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qkv.errors import QKVError
from qkv.measurement.timing import interleaved, quartiles, round_ratios
from qkv.recurrence import recurrence_scan

LENGTH = 2**20
ROUNDS, WARMUP_ROUNDS = 40, 5
QUICK_ROUNDS, QUICK_WARMUP_ROUNDS = 2, 0
DECAY = -1


def measure(
    *,
    quick: bool = False,
    progress: Callable[[int, int], None] | None = None,
    length: int = LENGTH,
) -> dict[str, Any]:
    """Milliseconds of all states of h_t = x_t − h_{t−1}, float32, on the CPU.

    `…_train` are forward and backward, `varying_…` has a decay tensor.

    Raises:
        QKVError: in integers, the scan or the cumulative sum differs from the loop.
    """
    generator = torch.Generator().manual_seed(0)
    require_exact(length, generator)
    inputs, upstream = torch.randn(2, length, generator=generator).unbind()
    decay = torch.rand(length, generator=generator) * 2 - 1
    signs = _signs(length, inputs.dtype)
    steps, decays = inputs.tolist(), decay.tolist()

    def trained(states_of: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        leaf = inputs.clone().requires_grad_()

        def train() -> None:
            torch.autograd.grad(states_of(leaf), leaf, upstream)

        return train

    # A loop over Python numbers leaves cold caches, so scan and sum, which are compared most
    # closely, do not come right after one.
    cases: dict[str, Callable[[], object]] = {
        "python_loop": lambda: python_loop(steps, DECAY),
        "varying_python_loop": lambda: varying_python_loop(steps, decays),
        "varying_scan": lambda: recurrence_scan(inputs, decay),
        "varying_scan_train": trained(lambda leaf: recurrence_scan(leaf, decay)),
        "scan": lambda: recurrence_scan(inputs, DECAY),
        "cumsum": lambda: alternating_by_cumsum(inputs, signs),
        "scan_train": trained(lambda leaf: recurrence_scan(leaf, DECAY)),
        "cumsum_train": trained(lambda leaf: alternating_by_cumsum(leaf, signs)),
    }
    rounds, warmup_rounds = (
        (QUICK_ROUNDS, QUICK_WARMUP_ROUNDS) if quick else (ROUNDS, WARMUP_ROUNDS)
    )
    seconds = interleaved(
        {name: _discarding(call) for name, call in cases.items()},
        rounds,
        warmup_rounds,
        progress=progress,
    )
    times = {name: [1e3 * second for second in values] for name, values in seconds.items()}
    ratios = {
        "scan_vs_python_loop": round_ratios(times["python_loop"], times["scan"]),
        "scan_vs_cumsum": round_ratios(times["cumsum"], times["scan"]),
        "scan_vs_cumsum_train": round_ratios(times["cumsum_train"], times["scan_train"]),
        "varying_scan_vs_python_loop": round_ratios(
            times["varying_python_loop"], times["varying_scan"]
        ),
    }
    return {
        "ratios": {name: statistics.median(values) for name, values in ratios.items()},
        "figures": {
            **{f"{name}_ms": statistics.median(times[name]) for name in times},
            "quartiles_ms": {name: quartiles(values) for name, values in times.items()},
            "quartiles_ratios": {name: quartiles(values) for name, values in ratios.items()},
            "length": length,
            "rounds": rounds,
            "warmup_rounds": warmup_rounds,
            "quick": quick,
            "exact": True,
            "dtype": "float32",
            "threads": torch.get_num_threads(),
            "device": inputs.device.type,
        },
    }


def python_loop(steps: Sequence[float], decay: float) -> list[float]:
    """All states of h_t = decay·h_{t−1} + x_t over Python numbers, the way one would write it."""
    state: float = 0
    states = []
    for x in steps:
        state = decay * state + x
        states.append(state)
    return states


def varying_python_loop(steps: Sequence[float], decays: Sequence[float]) -> list[float]:
    """All states of h_t = a_t·h_{t−1} + x_t over Python numbers."""
    state: float = 0
    states = []
    for x, decay in zip(steps, decays, strict=True):
        state = decay * state + x
        states.append(state)
    return states


def alternating_by_cumsum(inputs: Tensor, signs: Tensor) -> Tensor:
    """All states of h_t = x_t − h_{t−1} as s ⊙ cumsum(s ⊙ x)."""
    return signs * torch.cumsum(signs * inputs, 0)


def require_exact(length: int, generator: torch.Generator) -> None:
    """Compare all three over integers, where all of them must be equal.

    Raises:
        QKVError: one differs from the Python loop.
    """
    inputs = torch.randint(-9, 10, (length,), generator=generator)
    decay = torch.randint(-1, 2, (length,), generator=generator)
    steps = inputs.tolist()
    constant = torch.tensor(python_loop(steps, DECAY))
    varying = torch.tensor(varying_python_loop(steps, decay.tolist()))
    signs = _signs(length, inputs.dtype)
    for name, states, expected in (
        ("scan", recurrence_scan(inputs, DECAY), constant),
        ("scan of a varying decay", recurrence_scan(inputs, decay), varying),
        ("cumulative sum", alternating_by_cumsum(inputs, signs), constant),
    ):
        if not torch.equal(states, expected):
            raise QKVError(
                f"the {name} and the Python loop differ over {length} integers",
                remedy="mend the one that is wrong before timing either",
            )


def _signs(length: int, dtype: torch.dtype) -> Tensor:
    signs = torch.ones(length, dtype=dtype)
    signs[::2] = -1
    return signs


def _discarding(call: Callable[[], object]) -> Callable[[], None]:
    def discard() -> None:
        call()

    return discard
