"""The gate before any speed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from qkv.attention.reference import quadratic_softmax_attention, require_agreement
from qkv.attention.softmax import softmax_attention
from qkv.errors import QKVError


@pytest.mark.parametrize("head_dim", [1, 8, 65])
def test_a_kernel_agrees_with_its_plain_form(head_dim: int) -> None:
    pairs = {"fused": (softmax_attention, quadratic_softmax_attention)}
    assert 0 < require_agreement(pairs, head_dim) < 1e-5


@pytest.mark.parametrize(
    "slip",
    [
        lambda output: output * 1.001,
        lambda output: output.detach() + 0 * output,  # right forward, no gradient
        lambda output: output * torch.nan,
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_wrong_kernel_is_refused_by_name(slip: Callable[[Tensor], Tensor], place: int) -> None:
    def wrong(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return slip(quadratic_softmax_attention(query, key, value))

    right = (quadratic_softmax_attention, quadratic_softmax_attention)
    pairs = {"first": right, "second": right}
    name = list(pairs)[place]
    pairs[name] = (wrong, quadratic_softmax_attention)
    with pytest.raises(QKVError, match=f"{name} attention and its plain form differ"):
        require_agreement(pairs, 8)
