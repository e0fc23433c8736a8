"""Linear maps whose weights already lie as the CPU multiplies them.

Before a product oneDNN copies the weights into the order in which its kernel reads them, every time
anew: for a text of 200 tokens that takes a quarter of all products. Here it is done once. A map's
output is the same to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LaidOutLinear(nn.Module):
    """What a linear map computes, for inference alone.

    Args:
        linear: with weights in bfloat16, on the CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        # No attribute of a module's own kind: this layout can be neither saved nor moved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """The product with the transposed weights, plus the bias."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, "none", [], ""
        )
        return product


def lay_out_linears(module: nn.Module) -> None:
    """Replace every linear map within a module in bfloat16, where torch has the means."""
    if not _can_lay_out():
        return
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear and child.weight.device.type == "cpu":
            setattr(module, name, LaidOutLinear(child))
        else:
            lay_out_linears(child)


def _can_lay_out() -> bool:
    # Torch's own compiler calls these, but they are not among its documented functions.
    found = all(
        hasattr(torch.ops.mkldnn, name)
        for name in (
            "_reorder_linear_weight",
            "_linear_pointwise",
            "_is_mkldnn_bf16_supported",
        )
    )
    return found and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
