"""Plain twins of the fast kernels: written to be read, tested against, and never hurried."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def softmax_attention_reference(
    query: Float[Tensor, "queries head_dim"],
    key: Float[Tensor, "keys head_dim"],
    value: Float[Tensor, "keys value_dim"],
    *,
    attention_mask: Bool[Tensor, "queries keys"] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "queries value_dim"]:
    """One head of softmax attention, one query at a time, straight from the definition.

    y_i = Σ_j exp(s_ij) v_j / Σ_j exp(s_ij) with s_ij = scale · q_i·k_j, over the keys j that
    query i may attend to (Vaswani et al. 2017, eq. 1). No key at all gives zeros.
    """
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    rows = []
    for i in range(query.shape[0]):
        visible = [
            j
            for j in range(key.shape[0])
            if (attention_mask is None or bool(attention_mask[i, j])) and (not is_causal or j <= i)
        ]
        total = value.new_zeros(value.shape[-1])
        if visible:
            scores = torch.stack([factor * (query[i] * key[j]).sum() for j in visible])
            powers = (scores - scores.max().detach()).exp()
            for power, j in zip(powers, visible, strict=True):
                total = total + power * value[j]
            total = total / powers.sum()
        rows.append(total)
    return torch.stack(rows)
