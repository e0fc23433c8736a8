"""The MLP of a transformer block, on a CPU as one function with its gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from qkv.attention.multihead_cpu import Dropout, keep_mask
from qkv.autograd import without_second_derivative


class MLP(nn.Sequential):
    """Linear, GELU, linear, with dropout after each linear map's activation."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(dim, hidden_dim),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(hidden_dim, dim),
            Dropout(dropout),
        )

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Apply the MLP to every token."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            composed: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return composed
        up, dropout, down = self[0], self[2], self[3]
        assert isinstance(up, nn.Linear)
        assert isinstance(dropout, Dropout)
        assert isinstance(down, nn.Linear)
        dtype = x.dtype
        if torch.is_autocast_enabled("cpu"):
            # A function with its own gradient sits outside autocast, so it casts for itself.
            dtype = torch.get_autocast_dtype("cpu")
        output: Tensor = _MLPFunction.apply(  # type: ignore[no-untyped-call]
            x.to(dtype),
            up.weight.to(dtype),
            up.bias.to(dtype),
            down.weight.to(dtype),
            down.bias.to(dtype),
            dropout.p if self.training else 0.0,
        )
        return output


class _MLPFunction(torch.autograd.Function):
    # Masks hold 16-bit zeros and ones and are applied in place; the factors 1/(1 − p) of both
    # dropouts are folded into the second weight and bias.

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        up_weight: Tensor,
        up_bias: Tensor,
        down_weight: Tensor,
        down_bias: Tensor,
        p: float,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        hidden = F.linear(rows, up_weight, up_bias)
        active = F.gelu(hidden)
        hidden_mask = output_mask = None
        ctx.scale = 1.0 / (1.0 - p)
        if p == 0.0:
            output = F.linear(active, down_weight, down_bias)
        else:
            hidden_mask = keep_mask(active.shape, p)
            active.mul_(hidden_mask)
            down_weight = down_weight * ctx.scale**2
            output = F.linear(active, down_weight, down_bias * ctx.scale)
            output_mask = keep_mask(output.shape, p)
            output.mul_(output_mask)
        ctx.save_for_backward(
            rows, up_weight, hidden, hidden_mask, active, down_weight, output_mask
        )
        return output.view(x.shape)

    @staticmethod
    @without_second_derivative("the MLP on a CPU")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, up_weight, hidden, hidden_mask, active, down_weight, output_mask = ctx.saved_tensors
        upstream = gradient.reshape(rows.shape)
        if output_mask is not None:
            upstream = upstream * output_mask
        to_active = upstream @ down_weight
        if hidden_mask is not None:
            to_active.mul_(hidden_mask)
        to_hidden = torch.ops.aten.gelu_backward(to_active, hidden)
        return (
            (to_hidden @ up_weight).view(gradient.shape),
            # The narrow factor comes first because MKL is faster that way round.
            (rows.t() @ to_hidden).t(),
            to_hidden.sum(dim=0),
            (upstream.t() @ active).mul_(ctx.scale**2),
            upstream.sum(dim=0).mul_(ctx.scale),
            None,
        )
