"""Dropout whose random numbers are cheap on a CPU.

On a CPU most of the time of `torch.nn.Dropout` goes into one Bernoulli draw per element. Here four
elements share one 64-bit draw, 16 bits each, so the drop probability is exact to 2⁻¹⁷.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from qkv.autograd import without_second_derivative

LANES = 2**16


class Dropout(nn.Module):
    """Zero each element with probability `p` while training and scale the rest by 1/(1 − p).

    The draws follow torch's default generator, so `torch.manual_seed` governs them.

    Args:
        p: probability that an element is zeroed, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply dropout; the identity in evaluation mode or when `p` is 0."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p, training=True)
        masked: Tensor = _LaneDropout.apply(x, self.p)  # type: ignore[no-untyped-call]
        return masked

    def extra_repr(self) -> str:
        """The drop probability, shown when the module is printed."""
        return f"p={self.p}"


def keep_mask(shape: torch.Size, p: float) -> Tensor:
    """16-bit ones with probability 1 − p, zeros otherwise, on the CPU.

    Each element owns 16 random bits r and is kept when r, read as a signed integer, stays below
    a threshold. The comparison writes over the draws: one vectorised pass, no boolean mask.
    """
    # Kept are the `keep` lowest of the 2¹⁶ equally likely values; at least one is always kept.
    keep = max(1, round((1.0 - p) * LANES))
    if keep == LANES:
        return torch.ones(shape, dtype=torch.int16)
    count = math.prod(shape)
    seed = int(torch.randint(2**62, ()).item())
    generator = np.random.Generator(np.random.SFC64(seed))
    words = generator.integers(0, 2**64, dtype=np.uint64, size=(count + 3) // 4)
    lanes = torch.from_numpy(words.view(np.int16))[:count]
    return lanes.lt_(keep - LANES // 2).view(shape)


class _LaneDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        mask = keep_mask(x.shape, p)
        ctx.save_for_backward(mask)
        ctx.scale = 1.0 / (1.0 - p)
        return (x * mask).mul_(ctx.scale)

    @staticmethod
    @without_second_derivative("dropout on a CPU")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return (gradient * mask).mul_(ctx.scale), None
