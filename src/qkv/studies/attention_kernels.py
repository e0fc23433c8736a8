"""The ways to attend that are compared, each with the plain form that it must agree with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from qkv.attention import linear_attention, softmax_attention
from qkv.attention.reference import quadratic_linear_attention, quadratic_softmax_attention
from qkv.attention.twins import Attend

Work = Literal["forward", "train"]
WORKS: tuple[Work, ...] = ("forward", "train")
WORK_NAMES: dict[Work, str] = {"forward": "forward", "train": "forward + backward"}

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Kernel:
    """One way to attend.

    Attributes:
        label: for people.
        attend: query, key and value, (batch, heads, tokens, head_dim) each, to an output.
        twin: the same function in its quadratic form.
        time_power: its time grows as tokens to this power.
        matrices: how many T×T float32 matrices it holds at the worst moment, by work.
    """

    label: str
    attend: Attend
    twin: Attend
    time_power: int
    matrices: dict[Work, int]


def _elu_plus_one(x: Tensor) -> Tensor:
    return F.elu(x) + 1


_quadratic_linear = partial(quadratic_linear_attention, feature_map=_elu_plus_one)
_NONE: dict[Work, int] = {"forward": 0, "train": 0}

KERNELS: dict[str, Kernel] = {
    "plain": Kernel(
        "plain softmax",
        quadratic_softmax_attention,
        quadratic_softmax_attention,
        time_power=2,
        # Scores before and after scaling; then the weights, their gradient and that of the scores.
        matrices={"forward": 2, "train": 3},
    ),
    "fused": Kernel(
        "fused softmax",
        softmax_attention,
        quadratic_softmax_attention,
        time_power=2,
        matrices=_NONE,
    ),
    "linear": Kernel(
        "linear",
        linear_attention,
        _quadratic_linear,
        time_power=1,
        matrices=_NONE,
    ),
    "causal_linear": Kernel(
        "causal linear",
        partial(linear_attention, is_causal=True),
        partial(_quadratic_linear, is_causal=True),
        time_power=1,
        matrices=_NONE,
    ),
}


def made_up_inputs(work: Work, tokens: int, head_dim: int) -> list[Tensor]:
    """Normal query, key and value of one head, and the gradient that comes back if it trains."""
    generator = torch.Generator().manual_seed(0)
    count = 3 if work == "forward" else 4
    return [torch.randn(1, 1, tokens, head_dim, generator=generator) for _ in range(count)]


def prepared(attend: Attend, work: Work, inputs: list[Tensor]) -> Callable[[], object]:
    """The call to measure; it returns the output and, if it trains, the three gradients."""
    if work == "forward":
        query, key, value = inputs[:3]
        return lambda: attend(query, key, value)
    leaves = [tensor.detach().requires_grad_() for tensor in inputs[:3]]
    upstream = inputs[3]

    def train() -> list[Tensor]:
        output = attend(*leaves)
        return [output.detach(), *torch.autograd.grad(output, leaves, upstream)]

    return train


def given_and_kept_bytes(work: Work, tokens: int, head_dim: int) -> int:
    """Bytes of what goes into a call and of what it returns."""
    tensors = 3 + 1 if work == "forward" else 4 + 4
    return tensors * tokens * head_dim * _FLOAT_BYTES


def matrix_bytes(kernel: Kernel, work: Work, tokens: int) -> int:
    """Bytes of the T×T matrices that a call holds at the worst moment."""
    return kernel.matrices[work] * tokens * tokens * _FLOAT_BYTES
