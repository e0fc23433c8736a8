"""What functions with a gradient of our own must see to: second derivatives, and autocast."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

from qkv.errors import QKVError

Result = TypeVar("Result")


def without_second_derivative(
    what: str,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Decorator of the `backward` of an autograd function that calls kernels torch cannot record.

    torch's `once_differentiable` raises only when the incoming gradient itself needs one. That of a
    sum is a constant, and a penalty on the resulting gradient would count for nothing. This raises
    `QKVError` whenever torch is asked to record the backward pass (`create_graph=True`).

    Args:
        what: what the error calls the function.
    """

    def decorate(backward: Callable[..., Result]) -> Callable[..., Result]:
        @wraps(backward)
        def guarded(ctx: Any, *incoming: Any) -> Result:
            if torch.is_grad_enabled():
                raise QKVError(
                    f"{what} has no second derivative",
                    remedy="differentiate it without create_graph",
                )
            return backward(ctx, *incoming)

        return guarded

    return decorate


def autocast_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype in which autocast on a CPU multiplies a tensor, which such a function casts to."""
    if torch.is_autocast_enabled("cpu") and tensor.dtype != torch.float64:
        return torch.get_autocast_dtype("cpu")
    return tensor.dtype
