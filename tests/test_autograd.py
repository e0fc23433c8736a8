"""Our own gradients: none pretends that its gradient is zero; dropout drops at its rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from qkv.attention.linear import linear_attention
from qkv.attention.multihead_cpu import Dropout, keep_mask, short_multihead_attention
from qkv.errors import QKVError
from qkv.recurrence.scan import recurrence_scan
from qkv.text.gru import Packing, last_gru_states
from qkv.vision.vit import MLP

SOURCE = Path(__file__).parents[1] / "src" / "qkv"


def gru(x: Tensor) -> Tensor:
    packing = Packing.of(torch.ones(x.shape[:2], dtype=torch.bool))
    module = nn.GRU(4, 3, batch_first=True, bidirectional=True)
    return last_gru_states(module, packing.pack(x), packing)


# Each of a tensor of (2, 6, 4).
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear attention": lambda x: linear_attention(x, x, x),
    "causal linear attention": lambda x: linear_attention(x, x, x, is_causal=True),
    "short attention": lambda x: short_multihead_attention(
        x, torch.ones(12, 4), None, torch.ones(4, 4), torch.ones(4), 2
    ),
    "MLP": MLP(4, 8, 0.0),
    "dropout": lambda x: Dropout(0.5)(x) ** 2,
    "scan": lambda x: recurrence_scan(x, x.sigmoid(), dim=1),
    "GRU": gru,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_penalty_on_the_gradient_raises(name: str) -> None:
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    total = FUNCTIONS[name](x).sum()  # the gradient that comes in is a constant
    (once,) = torch.autograd.grad(total, x, retain_graph=True)
    assert once.any()
    with pytest.raises(QKVError, match="no second derivative; differentiate it without create"):
        torch.autograd.grad(total, x, create_graph=True)


def test_no_other_guard_is_used() -> None:
    sources = [path.read_text("utf-8") for path in SOURCE.rglob("*.py")]
    functions = sum(text.count("(torch.autograd.Function)") for text in sources)
    guards = sum(text.count("    @without_second_derivative(") for text in sources)
    assert functions == guards == len(FUNCTIONS) - 1  # linear attention has one for both forms
    assert not any("import once_differentiable" in text for text in sources)


def test_autocast_leaves_float64_alone() -> None:
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    mlp = MLP(4, 8, 0.0).double()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mlp(x), mlp[3](mlp[1](mlp[0](x))))
        assert mlp.float()(x.float()).dtype == torch.bfloat16


SHAPES = st.lists(st.integers(0, 7), min_size=0, max_size=4).map(tuple)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_keep_rate_within_five_sigma(p: float) -> None:
    torch.manual_seed(1)
    count = 1_000_003
    kept = int(keep_mask(torch.Size([count]), p).sum(dtype=torch.int64))
    assert abs(kept - (1 - p) * count) <= 5 * math.sqrt(count * p * (1 - p)) + count * 2**-17


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(2)
    mask = keep_mask(torch.Size([400_000]), 0.5).double() - 0.5
    for lag in (1, 2, 3, 4, 8):
        correlation = float((mask[lag:] * mask[:-lag]).mean()) * 4
        assert abs(correlation) < 5 / math.sqrt(len(mask) - lag)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_kept_elements_are_scaled_and_the_gradient_uses_the_same_mask(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    x = (torch.rand(50, 41) + 1).to(dtype).requires_grad_()
    y = Dropout(0.25)(x)
    assert y.dtype == dtype
    kept = y != 0
    assert 0 < int(kept.sum()) < kept.numel()
    torch.testing.assert_close(y[kept], (x / 0.75)[kept])
    upstream = torch.rand(50, 41).to(dtype)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    torch.testing.assert_close(gradient, torch.where(kept, upstream / 0.75, 0))


def test_expectation_is_the_input() -> None:
    torch.manual_seed(4)
    count = 400_000
    mean = float(Dropout(0.3)(torch.ones(count)).mean())
    assert abs(mean - 1) < 5 * math.sqrt(0.3 / 0.7 / count)


def test_manual_seed_repeats_and_successive_calls_differ() -> None:
    dropout, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(5)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(5)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def test_identity_in_evaluation_and_for_zero() -> None:
    x = torch.randn(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_extreme_probabilities() -> None:
    x = torch.ones(10_000)
    assert torch.allclose(Dropout(1e-9)(x), x)
    torch.manual_seed(6)
    assert int((Dropout(0.9999)(x) != 0).sum()) < 50


@given(SHAPES, st.floats(1e-6, 0.999), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_every_element_is_dropped_or_scaled(shape: tuple[int, ...], p: float, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.rand(shape) + 1
    y = Dropout(p)(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y, torch.where(y == 0, 0.0, x / (1 - p)))


def test_mlp_drops_after_each_activation_and_gradients_match_the_composition() -> None:
    # A mask read off a probe run with the same seed turns dropout into a fixed product.
    mlp = MLP(6, 8, 0.4).double()
    x = torch.randn(3, 5, 6, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(x)
    inputs = [x, *mlp.parameters()]
    torch.manual_seed(7)
    got = mlp(x)
    gradients = torch.autograd.grad(got, inputs, upstream)
    torch.manual_seed(7)
    hidden_mask = keep_mask(torch.Size([15, 8]), 0.4).view(3, 5, 8) / 0.6
    output_mask = keep_mask(torch.Size([15, 6]), 0.4).view(3, 5, 6) / 0.6
    wanted = mlp[3](mlp[1](mlp[0](x)) * hidden_mask.double()) * output_mask.double()
    expected = torch.autograd.grad(wanted, inputs, upstream)
    for a, b in zip([got, *gradients], [wanted, *expected], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_mlp_gradcheck(p: float) -> None:
    torch.manual_seed(8)
    mlp = MLP(3, 4, p).double()
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)

    def repeatable(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(9)
        output: torch.Tensor = mlp(x)
        return output

    assert torch.autograd.gradcheck(repeatable, (x,))


def test_mlp_in_evaluation_is_the_plain_composition() -> None:
    mlp = MLP(6, 8, 0.4).eval()
    x = torch.randn(3, 5, 6)
    torch.testing.assert_close(mlp(x), mlp[3](mlp[1](mlp[0](x))))
