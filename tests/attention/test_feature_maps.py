"""Feature maps against their formulas, and what they promise of each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_cases import MAPS, assert_all_close, draw, features
from torch import Tensor
from typing_extensions import override

from qkv.attention import FAVOR, FeatureMap, linear_attention
from qkv.attention.feature_maps import ELU, FEATURE_MAPS, RecordedMap, feature_map_for
from qkv.errors import NormaliserError, ShapeError

EVERY_MAP = pytest.mark.parametrize("name", MAPS)
HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)


# --- every map


@EVERY_MAP
@pytest.mark.parametrize("head_dim", [1, 2, 5, 8])
def test_products_of_features_follow_the_formula(head_dim: int, name: str) -> None:
    query, key = draw(2, 7, head_dim, seed=1), draw(2, 6, head_dim, seed=2)
    feature_map = feature_map_for(name, head_dim)
    mapped, offers = feature_map(query), feature_map(key)
    assert mapped.shape == (2, 7, feature_map.num_features(head_dim))
    expected = features(name, query) @ features(name, key).transpose(1, 2)
    torch.testing.assert_close(mapped @ offers.transpose(1, 2), expected, rtol=1e-12, atol=1e-12)
    if feature_map.sign == "positive":
        assert expected.min() > 0
    elif feature_map.sign == "non-negative":
        assert mapped.min() >= 0


@EVERY_MAP
def test_write_and_backward_are_the_map_and_its_gradient(name: str) -> None:
    feature_map = feature_map_for(name, 5)
    # With a zero, where two of the maps have their corner; and not contiguous.
    x = draw(5, 9, 3).permute(2, 1, 0)
    x[0, 0] = 0.0
    leaf = x.detach().requires_grad_()
    expected = feature_map(leaf)
    out = torch.full_like(expected, torch.nan).detach()
    feature_map.write(x, out)
    torch.testing.assert_close(out, expected.detach(), rtol=1e-14, atol=1e-14)
    upstream = draw(*expected.shape, seed=3)
    (gradient,) = torch.autograd.grad(expected, leaf, upstream)
    kept, to_x = upstream.clone(), torch.full((3, 9, 5), torch.nan, dtype=torch.float64)
    feature_map.backward(x, out, upstream, to_x)
    torch.testing.assert_close(to_x, gradient, rtol=1e-13, atol=1e-13)
    assert torch.equal(upstream, kept)


@EVERY_MAP
def test_gradients_in_double_precision(name: str) -> None:
    feature_map = feature_map_for(name, 3)
    assert torch.autograd.gradcheck(feature_map, [draw(2, 3).requires_grad_()])


@EVERY_MAP
@HALVES
def test_features_keep_the_dtype(dtype: torch.dtype, name: str) -> None:
    x = draw(7, 5, dtype=dtype)
    mapped = feature_map_for(name, 5)(x)
    assert mapped.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(mapped.double(), feature_map_for(name, 5)(x.double()),
                               rtol=8 * eps, atol=4 * eps)  # fmt: skip


def test_the_number_of_features() -> None:
    counts = {name: feature_map_for(name, 64).num_features(64) for name in MAPS}
    assert counts == {"identity": 64, "relu": 64, "elu": 64, "favor": 256, "taylor": 65 * 66 // 2}
    assert [*FEATURE_MAPS, "favor"] == ["identity", "relu", "elu", "taylor", "favor"]


# --- elu


@pytest.mark.parametrize("written", [False, True], ids=["called", "written"])
def test_elu_keeps_its_relative_precision_far_below_zero(written: bool) -> None:
    numbers = [-85.0, -50.0, -20.0, -10.0, -1e-3, -1e-8, -1e-30, -0.0, 0.0, 1e-8, 0.7, 3.0, 1e30]
    x = torch.tensor([numbers])
    out = torch.empty_like(x)
    ELU().write(x, out)
    actual = (out if written else ELU()(x))[0].tolist()
    wanted = [math.exp(n) if n < 0 else n + 1 for n in x[0].tolist()]
    assert actual == pytest.approx(wanted, rel=3e-7, abs=0)


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20))
@settings(max_examples=50)
def test_elu_written_is_elu_called(numbers: list[float]) -> None:
    x = torch.tensor([numbers], dtype=torch.float32)
    out = torch.empty_like(x)
    ELU().write(x, out)
    torch.testing.assert_close(out, ELU()(x), rtol=3e-7, atol=0)
    assert (out.diff() * x.diff() >= 0).all()


def test_elu_at_infinity_and_nan() -> None:
    x = torch.tensor([[math.inf, -math.inf, math.nan, 200.0]])
    out = torch.empty_like(x)
    ELU().write(x, out)
    torch.testing.assert_close(out, ELU()(x), equal_nan=True)
    torch.testing.assert_close(out, torch.tensor([[math.inf, 0, math.nan, 201]]), equal_nan=True)
    leaf = torch.tensor([[200.0, -200.0]], requires_grad=True)
    ELU()(leaf).sum().backward()
    assert leaf.grad.tolist() == [[1.0, 0.0]]


# --- taylor


@pytest.mark.parametrize("head_dim", [1, 2, 7, 16])
def test_taylor_is_the_polynomial_of_second_order(head_dim: int) -> None:
    query, key = 3 * draw(20, head_dim, seed=1), 3 * draw(20, head_dim, seed=2)
    taylor = FEATURE_MAPS["taylor"]
    scores = query.numpy() @ key.numpy().T / math.sqrt(head_dim)
    products = (taylor(query) @ taylor(key).T).numpy()
    np.testing.assert_allclose(products, 1 + scores + scores**2 / 2, rtol=1e-10, atol=1e-10)
    assert products.min() >= 0.5 - 1e-9
    assert scores.min() < -1


# --- favor


def test_favor_follows_its_formula_with_its_own_directions() -> None:
    favor = FAVOR(6, num_features=11, seed=3)
    x = draw(2, 4, 6)
    scaled = x.numpy() / 6**0.25
    norms = (scaled**2).sum(-1, keepdims=True)
    wanted = np.exp(scaled @ favor.directions.numpy().T - norms / 2) / math.sqrt(11)
    np.testing.assert_allclose(favor(x).numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize(("head_dim", "seed"), [(1, 0), (4, 1), (8, 2)])
def test_favor_is_the_softmax_kernel_in_the_mean(head_dim: int, seed: int) -> None:
    count = 40_000 - 40_000 % head_dim
    favor = FAVOR(head_dim, num_features=count, seed=seed)
    query, key = 0.7 * draw(5, head_dim, seed=3), 0.7 * draw(5, head_dim, seed=4)
    samples = count * favor(query) * favor(key)
    # The directions of a block are not independent, but blocks are.
    blocks = samples.view(5, -1, head_dim).mean(dim=-1)
    error = blocks.std(dim=-1) / blocks.shape[1] ** 0.5
    wanted = (query * key).sum(dim=-1).div(head_dim**0.5).exp()
    estimate = (favor(query) * favor(key)).sum(dim=-1)
    assert ((estimate - wanted).abs() <= 4 * error).all()
    assert error.max() < 0.05 * wanted.max()


def test_directions_are_normal_and_orthogonal_in_blocks() -> None:
    directions = FAVOR(6, num_features=60_004).directions
    assert directions.shape == (60_004, 6)
    for block in directions[:60_000].view(-1, 6, 6)[:50]:
        product = block @ block.T
        assert (product - product.diag().diag()).abs().max() < 1e-12
    # Moments of N(0, I), to five standard errors.
    count = len(directions)
    assert directions.mean(dim=0).abs().max() < 5 / count**0.5
    covariance = directions.T @ directions / count
    torch.testing.assert_close(
        covariance, torch.eye(6, dtype=torch.float64), rtol=0, atol=5 * (2 / count) ** 0.5
    )
    squares = directions.square().sum(dim=1)
    assert squares.mean() == pytest.approx(6, abs=5 * (12 / count) ** 0.5)
    assert squares.var() == pytest.approx(12, rel=0.05)  # χ² of 6 degrees of freedom
    # Neighbouring blocks do not repeat each other.
    assert (directions[:6] - directions[6:12]).abs().max() > 0.1


def test_directions_are_told_by_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = FAVOR(5, seed=7).directions
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(FAVOR(5, seed=7).directions, first)
    assert not torch.equal(FAVOR(5, seed=8).directions, first)
    assert first.shape == (20, 5)
    assert torch.equal(feature_map_for("favor", 5)(draw(3, 5)), FAVOR(5)(draw(3, 5)))


def test_favor_of_one_width_serves_no_other() -> None:
    with pytest.raises(ShapeError, match="random features for head_dim 5 got vectors of 4"):
        FAVOR(5).num_features(4)


def test_favor_first_used_in_inference_mode_can_train_later() -> None:
    query, key, value = (draw(3, 13, seed=seed).requires_grad_() for seed in range(3))
    with torch.inference_mode():
        expected = linear_attention(query, key, value, feature_map="favor")
    output = linear_attention(query, key, value, feature_map="favor")
    output.sum().backward()
    assert torch.equal(output, expected)
    assert query.grad.isfinite().all()


# --- maps of one's own


class Doubled(RecordedMap):
    """cos and sin: signed features, of which there are twice as many."""

    name = "doubled"
    sign = "any"

    @override
    def num_features(self, head_dim: int) -> int:
        return 2 * head_dim

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([x.cos(), x.sin()], dim=-1)


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_map_of_ones_own(is_causal: bool) -> None:
    own: FeatureMap = Doubled()
    query, key, value = (0.4 * draw(70, 3, seed=seed) for seed in range(3))
    # φ(q)·φ(k) = Σ cos(q − k)
    scores = (query[:, None] - key[None]).cos().sum(dim=-1)
    if is_causal:
        scores = scores.tril()
    output = linear_attention(query, key, value, feature_map=own, is_causal=is_causal)
    expected = scores / scores.sum(dim=-1, keepdim=True) @ value
    assert_all_close([output], [expected])
    with pytest.raises(NormaliserError, match="feature map 'doubled'"):
        linear_attention(query + math.pi, key, value, feature_map=own, is_causal=is_causal)


@pytest.mark.parametrize("name", ["", "elu+1", "ELU", "taylr"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(ShapeError, match="unknown feature map"):
        feature_map_for(name, 4)  # type: ignore[arg-type]
