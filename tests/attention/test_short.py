from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from qkv.attention.multihead import MultiHeadAttention
from qkv.attention.multihead_cpu import short_multihead_attention
from qkv.attention.softmax import softmax_attention

DIM = 6
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}


def composed(
    tokens: Tensor,
    qkv_weight: Tensor,
    qkv_bias: Tensor | None,
    output_weight: Tensor,
    output_bias: Tensor,
    heads: int,
) -> Tensor:
    packed = F.linear(tokens, qkv_weight, qkv_bias).unflatten(-1, (3, heads, -1))
    query, key, value = packed.permute(2, 0, 3, 1, 4)
    attended = softmax_attention(query, key, value).transpose(1, 2).flatten(2)
    return F.linear(attended, output_weight, output_bias)


def draw(
    length: int, heads: int, head_dim: int, biased: bool, dtype: torch.dtype, batch: int = 2
) -> list[Tensor | None]:
    torch.manual_seed(length + 100 * heads + 1000 * head_dim)
    inner = heads * head_dim
    shapes = [(batch, length, DIM), (3 * inner, DIM), (3 * inner,), (DIM, inner), (DIM,)]
    drawn: list[Tensor | None] = [
        (torch.randn(shape, dtype=torch.float64) / 2).to(dtype).requires_grad_() for shape in shapes
    ]
    if not biased:
        drawn[2] = None
    return drawn


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("length", [1, 7, 63])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("head_dim", [5, 24, 64])
@pytest.mark.parametrize("biased", [False, True])
def test_output_and_every_gradient_equal_the_composition(
    dtype: torch.dtype, length: int, heads: int, head_dim: int, biased: bool
) -> None:
    arguments = draw(length, heads, head_dim, biased, dtype)
    inputs = [tensor for tensor in arguments if tensor is not None]
    ours = short_multihead_attention(*arguments, heads)
    expected = composed(*arguments, heads)
    upstream = torch.randn_like(ours)
    pairs = zip(
        [ours, *torch.autograd.grad(ours, inputs, upstream)],
        [expected, *torch.autograd.grad(expected, inputs, upstream)],
        strict=True,
    )
    for got, wanted in pairs:
        assert got.shape == wanted.shape
        assert got.dtype == dtype
        # A single token makes the gradient of queries and keys exactly zero: hence the offset.
        assert (got - wanted).norm() <= TOLERANCE[dtype] * (wanted.norm() + 0.01)


@pytest.mark.parametrize("head_dim", [3, 64])
@pytest.mark.parametrize("biased", [False, True])
def test_gradcheck(head_dim: int, biased: bool) -> None:
    arguments = draw(3, 2, head_dim, biased, torch.float64, batch=1)
    assert torch.autograd.gradcheck(
        lambda *tensors: short_multihead_attention(*tensors, 2), arguments, fast_mode=True
    )


def test_noncontiguous_tokens_and_gradient() -> None:
    arguments = draw(5, 2, 4, True, torch.float64)
    tokens = torch.randn(DIM, 5, 2, dtype=torch.float64).permute(2, 1, 0).requires_grad_()
    upstream = torch.randn(DIM, 5, 2, dtype=torch.float64).permute(2, 1, 0)
    ours = short_multihead_attention(tokens, *arguments[1:], 2)
    expected = composed(tokens, *arguments[1:], 2)
    got, wanted = (torch.autograd.grad(y, tokens, upstream)[0] for y in (ours, expected))
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("bias", [False, True])
def test_few_queries_equal_the_first_rows_of_all(bias: bool) -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(DIM, 3, 5, qkv_bias=bias).double()
    tokens = torch.randn(2, 7, DIM, dtype=torch.float64)
    for queries in (1, 2, 7):
        torch.testing.assert_close(attention(tokens, queries), attention(tokens)[:, :queries])
