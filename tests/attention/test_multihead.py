"""Multi-head attention against one written out, whatever path it takes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qkv.attention import (
    MultiHeadAttention,
    linear_attention_weights,
    multihead,
    softmax_attention_weights,
)

LENGTHS = [1, 7, 63]


def module(**options: float | bool | str) -> MultiHeadAttention:
    torch.manual_seed(1)
    return MultiHeadAttention(6, 3, 5, **options)  # type: ignore[arg-type]


def mixed(kernel: str, query: Tensor, key: Tensor) -> Tensor:
    """The weights of one head."""
    if kernel == "softmax":
        return (query @ key.T / query.shape[-1] ** 0.5).softmax(dim=-1)
    scores = (F.elu(query) + 1) @ (F.elu(key) + 1).T
    return scores / scores.sum(dim=-1, keepdim=True)


def written_out(attention: MultiHeadAttention, tokens: Tensor) -> Tensor:
    """Head by head, by the definition."""
    heads, width = attention.num_heads, attention.head_dim
    bias = attention.qkv.bias
    items = []
    for item in tokens:
        projected = item @ attention.qkv.weight.T + (0.0 if bias is None else bias)
        query, key, value = projected.split(heads * width, dim=-1)
        attended = [
            mixed(attention.kernel, query[:, part], key[:, part]) @ value[:, part]
            for part in (slice(head * width, (head + 1) * width) for head in range(heads))
        ]
        items.append(torch.cat(attended, dim=-1) @ attention.output.weight.T)
    return torch.stack(items) + attention.output.bias


def results(function: object, attention: MultiHeadAttention, tokens: Tensor) -> list[Tensor]:
    """Output, and the gradients of tokens and parameters."""
    tokens = tokens.clone().requires_grad_()
    output = function(tokens)  # type: ignore[operator]
    upstream = torch.linspace(-1, 1, output.numel()).view_as(output).to(output.dtype)
    return [output, *torch.autograd.grad(output, [tokens, *attention.parameters()], upstream)]


@pytest.mark.parametrize("short_tokens", [0, 10_000], ids=["kernel", "short"])
@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_path_agrees_with_one_written_out(
    length: int, qkv_bias: bool, short_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multihead, "SHORT_TOKENS", short_tokens)
    attention = module(qkv_bias=qkv_bias)
    tokens = torch.randn(2, length, 6, generator=torch.Generator().manual_seed(2))
    actual = results(attention, attention, tokens)
    expected = results(lambda x: written_out(attention, x), attention, tokens)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("length", [*LENGTHS, 65, 197])
def test_linear_attention_agrees_with_one_written_out(length: int, qkv_bias: bool) -> None:
    attention = module(kernel="linear", qkv_bias=qkv_bias).double()
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randn(2, length, 6, generator=generator, dtype=torch.float64)
    actual = results(attention, attention, tokens)
    expected = results(lambda x: written_out(attention, x), attention, tokens)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    # The other kernel is another function.
    softmax = module(qkv_bias=qkv_bias).double()
    assert length == 1 or (softmax(tokens) - actual[0]).abs().max() > 1e-3


@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("queries", [1, 2, 7])
def test_few_queries_of_linear_attention_are_the_first_rows(queries: int, qkv_bias: bool) -> None:
    attention = module(kernel="linear", qkv_bias=qkv_bias).double()
    tokens = torch.randn(2, 7, 6, dtype=torch.float64)
    few = results(lambda x: attention(x, queries), attention, tokens)
    rows = results(lambda x: written_out(attention, x)[:, :queries], attention, tokens)
    for one, other in zip(few, rows, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_the_boundary_between_the_paths_is_seamless(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = module()
    tokens = torch.randn(2, 9, 6)
    monkeypatch.setattr(multihead, "SHORT_TOKENS", 9)
    short = attention(tokens)
    monkeypatch.setattr(multihead, "SHORT_TOKENS", 8)
    torch.testing.assert_close(attention(tokens), short, rtol=1e-5, atol=1e-5)


def test_weights_are_those_that_forward_applies() -> None:
    attention = module(qkv_bias=True)
    tokens = torch.randn(2, 7, 6)
    weights = attention.weights(tokens)
    assert weights.shape == (2, 3, 7, 7)
    packed = attention.qkv(tokens).view(2, 7, 3, 3, 5)
    query, key, value = packed.permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(weights, softmax_attention_weights(query, key))
    mixed = (weights @ value).transpose(1, 2).reshape(2, 7, 15)
    torch.testing.assert_close(attention.output(mixed), attention(tokens), rtol=1e-5, atol=1e-5)


def test_linear_weights_are_those_that_forward_applies() -> None:
    attention = module(kernel="linear", qkv_bias=True)
    tokens = torch.randn(2, 7, 6)
    weights = attention.weights(tokens)
    assert weights.shape == (2, 3, 7, 7)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 7))
    packed = attention.qkv(tokens).view(2, 7, 3, 3, 5)
    query, key, value = packed.permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(weights, linear_attention_weights(query, key))
    mixed_values = (weights @ value).transpose(1, 2).reshape(2, 7, 15)
    torch.testing.assert_close(
        attention.output(mixed_values), attention(tokens), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("kernel", ["softmax", "linear"])
@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_computed_from_weights_it_is_the_same_function(
    length: int, qkv_bias: bool, kernel: str
) -> None:
    attention = module(kernel=kernel, qkv_bias=qkv_bias).double()
    tokens = torch.randn(2, length, 6, dtype=torch.float64)
    assert torch.equal(attention.forward_with_weights(tokens)[1], attention.weights(tokens))
    one = results(lambda x: attention.forward_with_weights(x)[0], attention, tokens)
    for spelt, usual in zip(one, results(attention, attention, tokens), strict=True):
        torch.testing.assert_close(spelt, usual, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kernel", ["softmax", "linear"])
def test_computed_from_weights_it_has_gradients_of_its_weights(kernel: str) -> None:
    attention = module(kernel=kernel).double()
    tokens = torch.randn(2, 7, 6, dtype=torch.float64)
    output, weights = attention.forward_with_weights(tokens)
    upstream = torch.randn_like(output)
    found = torch.autograd.grad(output, weights, upstream)[0]
    # The output is linear in them: the gradient is what comes back to a head, times its values.
    for head in range(3):
        part = slice(5 * head, 5 * head + 5)
        value = tokens @ attention.qkv.weight[30:][part].T
        expected = upstream @ attention.output.weight[:, part] @ value.transpose(1, 2)
        torch.testing.assert_close(found[:, head], expected)


def test_dropout_acts_after_the_output_projection_and_only_in_training() -> None:
    attention = module(dropout=0.5)
    tokens = torch.randn(4, 7, 6)
    whole = attention.eval()(tokens)
    dropped = attention.train()(tokens)
    zero = dropped == 0
    assert 0.2 < zero.float().mean() < 0.8
    torch.testing.assert_close(dropped[~zero], 2 * whole[~zero], rtol=1e-5, atol=1e-5)
    assert 0.2 < (attention.forward_with_weights(tokens)[0] == 0).float().mean() < 0.8


def test_all_parameters_are_known() -> None:
    shapes = {name: tuple(p.shape) for name, p in module(qkv_bias=True).named_parameters()}
    assert shapes == {
        "qkv.weight": (45, 6),
        "qkv.bias": (45,),
        "output.weight": (6, 15),
        "output.bias": (6,),
    }
    assert isinstance(module().qkv, nn.Linear)
    assert module().qkv.bias is None


@pytest.mark.parametrize("kernel", ["softmax", "linear"])
def test_autocast_gives_its_dtype_and_stays_near(kernel: str) -> None:
    attention = module(kernel=kernel)
    tokens = torch.randn(2, 7, 6)
    exact = results(attention, attention, tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = results(attention, attention, tokens)
    assert reduced[0].dtype == torch.bfloat16
    for one, other in zip(reduced, exact, strict=True):
        assert (one.float() - other).norm() <= 0.03 * other.norm()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = attention.weights(tokens)
    torch.testing.assert_close(weights.sum(dim=-1).float(), torch.ones(2, 3, 7), rtol=0, atol=0.01)
    torch.testing.assert_close(weights.float(), attention.weights(tokens), rtol=0.05, atol=1e-3)


def test_both_kernels_share_their_parameters() -> None:
    linear, softmax = module(kernel="linear"), module(kernel="softmax")
    assert linear.state_dict().keys() == softmax.state_dict().keys()
    softmax.load_state_dict(linear.state_dict())
