"""The kernels: linear attention beside softmax attention, and the scan beside loop and sum.

Attention is one head of width 64 in float32, all keys seen by all queries. Each is first held to
its plain twin: a wrong kernel has no speed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qkv.attention import linear_attention, softmax_attention
from qkv.attention.feature_maps import ELU
from qkv.attention.reference import (
    Attend,
    naive_linear_attention,
    quadratic_linear_attention,
    quadratic_softmax_attention,
    require_agreement,
)
from qkv.errors import QKVError
from qkv.measurement.timing import crossing_tokens, interleaved, quartiles, round_ratios
from qkv.progress import Progress
from qkv.recurrence import recurrence_scan

TOKENS, QUICK_TOKENS, HEAD_DIM = 16_384, 1024, 64
CROSSING_LENGTHS, QUICK_CROSSING_LENGTHS, CROSSING_ROUNDS = (64, 128, 256, 512, 1024), (64,), 15
ROUNDS, WARMUP_ROUNDS = 9, 2
SCAN_LENGTH, DECAY = 2**20, -1
SCAN_ROUNDS, SCAN_WARMUP_ROUNDS = 40, 5


def causal_linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Linear attention that sees no later key."""
    return linear_attention(query, key, value, is_causal=True)


def causal_twin(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What `causal_linear_attention` computes, in T² steps."""
    return quadratic_linear_attention(query, key, value, feature_map=ELU(), is_causal=True)


def twin(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What `linear_attention` computes, in T² steps."""
    return quadratic_linear_attention(query, key, value, feature_map=ELU())


# How each attends, its twin, and how often it is called for one sample, so that a sample lasts a
# tenth of a second or more.
SYSTEMS: dict[str, tuple[Attend, Attend, int]] = {
    "plain": (quadratic_softmax_attention, quadratic_softmax_attention, 1),
    "fused": (softmax_attention, quadratic_softmax_attention, 1),
    "naive_linear": (naive_linear_attention, twin, 25),
    "linear": (linear_attention, twin, 40),
    "causal_linear": (causal_linear_attention, causal_twin, 20),
}


def measure_attention(*, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Milliseconds of a forward pass, and of forward and backward, and where linear overtakes.

    `causal_vs_linear`, below 1, is what causality costs. `crossing_tokens` is the least length from
    which linear attention's forward pass is no slower than torch's fused softmax attention; None if
    it always is.

    Raises:
        QKVError: one does not agree with its twin.
    """
    pairs = {name: (attend, plain) for name, (attend, plain, _) in SYSTEMS.items()}
    difference = require_agreement(pairs, HEAD_DIM)
    tokens = QUICK_TOKENS if quick else TOKENS
    generator = torch.Generator().manual_seed(0)
    heads = torch.randn(4, 1, 1, tokens, HEAD_DIM, generator=generator)
    *inputs, upstream = heads.unbind()

    def forward(attend: Attend, calls: int) -> Callable[[], None]:
        def sample() -> None:
            with torch.no_grad():
                for _ in range(calls):
                    attend(*inputs)

        return sample

    def train(attend: Attend, calls: int) -> Callable[[], None]:
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]

        def sample() -> None:
            for _ in range(calls):
                torch.autograd.grad(attend(*leaves), leaves, upstream)

        return sample

    cases = {
        f"{name}_{which}": make(attend, calls)
        for which, make in (("forward", forward), ("train", train))
        for name, (attend, _, calls) in SYSTEMS.items()
    }
    rounds, warmup_rounds = (1, 0) if quick else (ROUNDS, WARMUP_ROUNDS)
    seconds = interleaved(cases, rounds, warmup_rounds, progress=progress)
    times = {
        f"{name}_{which}": [1e3 * second / calls for second in seconds[f"{name}_{which}"]]
        for which in ("forward", "train")
        for name, (_, _, calls) in SYSTEMS.items()
    }
    ratios = {
        f"{which}_vs_{name}": round_ratios(times[f"{name}_{which}"], times[f"linear_{which}"])
        for which in ("forward", "train")
        for name in ("plain", "fused", "naive_linear")
    }
    ratios["causal_vs_linear"] = round_ratios(
        times["linear_forward"], times["causal_linear_forward"]
    )
    crossing = crossing_tokens(
        _forward_at(linear_attention),
        _forward_at(softmax_attention),
        QUICK_CROSSING_LENGTHS if quick else CROSSING_LENGTHS,
        rounds=1 if quick else CROSSING_ROUNDS,
    )
    return {
        "ratios": {name: statistics.median(values) for name, values in ratios.items()},
        "figures": {
            "crossing_tokens": crossing.tokens,
            "crossing_ratios": {str(length): ratio for length, ratio in crossing.ratios.items()},
            **{f"{name}_ms": statistics.median(values) for name, values in times.items()},
            "quartiles_ms": {name: quartiles(values) for name, values in times.items()},
            "quartiles_ratios": {name: quartiles(values) for name, values in ratios.items()},
            "tokens": tokens,
            "head_dim": HEAD_DIM,
            "feature_map": "elu",
            "dtype": "float32",
            "device": "cpu",
            "threads": torch.get_num_threads(),
            "rounds": rounds,
            "warmup_rounds": warmup_rounds,
            "quick": quick,
            "largest_difference": difference,
        },
    }


def _forward_at(attend: Attend) -> Callable[[int], Callable[[], object]]:
    def prepare(tokens: int) -> Callable[[], object]:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(3, 1, 1, tokens, HEAD_DIM, generator=generator).unbind()

        @torch.no_grad()
        def call() -> object:
            return attend(*inputs)

        return call

    return prepare


def measure_scan(
    *,
    quick: bool = False,
    progress: Progress | None = None,
    length: int = SCAN_LENGTH,
) -> dict[str, Any]:
    """Milliseconds of all states of h_t = x_t − h_{t−1}, float32, on the CPU.

    There a cumulative sum gives the same states: h = s ⊙ cumsum(s ⊙ x) with s_t = (−1)^t. That is
    the best case of one recurrence, so it is what the scan, which takes any decay, is held against.
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
    rounds, warmup_rounds = (2, 0) if quick else (SCAN_ROUNDS, SCAN_WARMUP_ROUNDS)
    seconds = interleaved(cases, rounds, warmup_rounds, progress=progress)
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
