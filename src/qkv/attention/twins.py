"""The gate before any speed: a kernel must agree with its plain twin, outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from qkv.errors import QKVError

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

CHECKED_TOKENS = 251
TOLERANCE = 1e-4  # of the largest entry
# Of entries that are all smaller, such as gradients that vanish, the size to go by.
LEAST_SCALE = 0.01


def require_agreement(pairs: Mapping[str, tuple[Attend, Attend]], head_dim: int) -> float:
    """Hold each kernel to its twin at 251 tokens, a length that is odd and prime, in float32.

    A wrong kernel has no speed.

    Args:
        pairs: by name, a kernel and its twin: query, key and value, (1, 1, tokens, head_dim) each,
            to an output.
        head_dim: width of queries, keys and values.

    Returns:
        The largest difference, as a share of the largest entry.

    Raises:
        QKVError: one differs by more than 1e-4 of the largest entry.
    """
    generator = torch.Generator().manual_seed(0)
    shape = 4, 1, 1, CHECKED_TOKENS, head_dim
    *inputs, upstream = torch.randn(shape, generator=generator).unbind()
    largest = 0.0
    for name, pair in pairs.items():
        ours, theirs = (_results(attend, inputs, upstream) for attend in pair)
        for one, other in zip(ours, theirs, strict=True):
            scale = max(LEAST_SCALE, float(other.abs().max()))
            difference = float((one - other).abs().max()) / scale
            # Written so that NaN fails too.
            if not difference <= TOLERANCE:
                raise QKVError(
                    f"{name} attention and its plain form differ by {difference:.2g} of the "
                    f"largest entry at {CHECKED_TOKENS} tokens",
                    remedy="mend the one that is wrong before timing either",
                )
            largest = max(largest, difference)
    return largest


def _results(attend: Attend, inputs: list[Tensor], upstream: Tensor) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    output = attend(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, upstream)]
