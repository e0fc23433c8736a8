"""Linear attention against softmax attention, plain and fused, in one interleaved run.

One head of width 64 in float32, all keys seen by all queries. Each is first held to its
twin at a short odd length: a wrong kernel has no speed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
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
from qkv.measurement.timing import crossing_tokens, interleaved, quartiles, round_ratios

TOKENS, QUICK_TOKENS, HEAD_DIM = 16_384, 1024, 64
CROSSING_LENGTHS, QUICK_CROSSING_LENGTHS, CROSSING_ROUNDS = (64, 128, 256, 512, 1024), (64,), 15
ROUNDS, WARMUP_ROUNDS = 9, 2


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


def measure(
    *, quick: bool = False, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
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
