"""How far two ways of computing the same sum may lie apart, on any processor."""

from __future__ import annotations

import torch


def atol(dtype: torch.dtype, operations: int, magnitude: float = 1.0) -> float:
    """The bound n·ε·m on a sum of n terms of size m in any order, twice the worst case of one.

    A processor's instruction set decides the order in which terms are added. Each of n additions
    rounds by at most ε/2 of what has been added (Higham, Accuracy and Stability, §4.2).

    Args:
        dtype: in which numbers are rounded.
        operations: roundings between inputs and result, one after the other.
        magnitude: of the terms, or of the result where they are alike.
    """
    return operations * torch.finfo(dtype).eps * magnitude
