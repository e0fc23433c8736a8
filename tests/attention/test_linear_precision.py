"""Half precisions, autocast, and the memory that linear attention takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from linear_cases import MAPS, by_weights, draw, heads, with_gradients
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from qkv.attention import linear_attention, linear_attention_weights
from qkv.attention.blocks import CPU_BLOCK_ELEMENTS

FORMS = pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])
EVERY_MAP = pytest.mark.parametrize("name", MAPS)
HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


# --- dtypes


@FORMS
@EVERY_MAP
@HALVES
@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
def test_halves_are_right_to_their_own_rounding(
    batch: tuple[int, ...], dtype: torch.dtype, name: str, is_causal: bool
) -> None:
    tensors = heads(name, batch, 200, dtype=dtype)
    actual = with_gradients(linear_attention, tensors, feature_map=name, is_causal=is_causal)
    exact = [x.detach().double().requires_grad_() for x in tensors]
    output = by_weights(name, *exact, is_causal=is_causal)
    upstream = draw(*output.shape, seed=9, dtype=dtype).double()
    gradients = torch.autograd.grad(output, exact, upstream)
    # One rounding, and a little for sums in float32.
    unit = torch.finfo(dtype).eps / 2
    torch.testing.assert_close(actual[0].double(), output, rtol=1.01 * unit, atol=2e-5)
    for got, wanted in zip(actual[1:], gradients, strict=True):
        assert got.dtype == dtype
        assert (got - wanted).norm() <= 4 * unit * wanted.norm()


@FORMS
@EVERY_MAP
def test_single_precision_is_near_the_truth(name: str, is_causal: bool) -> None:
    tensors = heads(name, (2,), 300, dtype=torch.float32)
    actual = with_gradients(linear_attention, tensors, feature_map=name, is_causal=is_causal)
    exact = [x.detach().double().requires_grad_() for x in tensors]
    expected = with_gradients(by_weights, exact, name, is_causal=is_causal)
    for got, wanted in zip(actual, expected, strict=True):
        assert got.dtype == torch.float32
        assert (got - wanted).norm() <= 2e-5 * wanted.norm()


@FORMS
@HALVES
@pytest.mark.parametrize("offset", [3.0, 20.0])
def test_gradients_of_halves_survive_values_far_from_zero(
    offset: float, dtype: torch.dtype, is_causal: bool
) -> None:
    # An offset of all values moves every output and no gradient: dy·(S − y z)/n must not be taken
    # with a rounded y.
    query, key, value = (0.5 * draw(1, 256, 8, seed=seed) for seed in range(3))
    tensors = [x.to(dtype).requires_grad_() for x in (query, key, value + offset)]
    actual = with_gradients(linear_attention, tensors, is_causal=is_causal)[1:]
    exact = [x.detach().double().requires_grad_() for x in tensors]
    output = by_weights("elu", *exact, is_causal=is_causal)
    upstream = draw(*output.shape, seed=9, dtype=dtype).double()
    for got, wanted in zip(actual, torch.autograd.grad(output, exact, upstream), strict=True):
        assert (got - wanted).norm() <= torch.finfo(dtype).eps * wanted.norm()


@FORMS
def test_long_sums_in_single_precision(is_causal: bool) -> None:
    tensors = [draw(150_000, 4, seed=seed, dtype=torch.float32) for seed in range(3)]
    tensors[2] += 3.0
    output = linear_attention(*tensors, is_causal=is_causal).double()
    exact = linear_attention(*(x.double() for x in tensors), is_causal=is_causal)
    torch.testing.assert_close(output, exact, rtol=2e-5, atol=0)


@FORMS
@HALVES
def test_sums_of_halves_do_not_saturate(dtype: torch.dtype, is_causal: bool) -> None:
    # φ(0) = 1. A sum of ones in bfloat16 stops at 256, in float16 at 2,048.
    zeros = torch.zeros(1, 4096, 4, dtype=dtype)
    value = torch.zeros(1, 4096, 1, dtype=dtype)
    value[:, 2048:] = 1.0
    output, state = linear_attention(zeros, zeros, value, is_causal=is_causal, return_state=True)
    assert torch.equal(state.normaliser, torch.full((1, 4), 4096.0))
    assert torch.equal(state.key_value, torch.full((1, 4, 1), 2048.0))
    assert output[0, -1, 0] == 0.5


@FORMS
@HALVES
def test_float16_features_may_exceed_its_range(dtype: torch.dtype, is_causal: bool) -> None:
    query, key = (torch.full((1, 70, 4), 300.0, dtype=dtype) for _ in range(2))
    value = draw(1, 70, 2).to(dtype)
    output = linear_attention(query, key, value, is_causal=is_causal)
    assert output.isfinite().all()
    torch.testing.assert_close(
        output[:, -1].double(), value.double().mean(dim=1), rtol=0.01, atol=1e-3
    )


# --- autocast


@FORMS
@EVERY_MAP
@pytest.mark.parametrize("length", [70, 300])
def test_autocast_changes_nothing(length: int, name: str, is_causal: bool) -> None:
    tensors = heads(name, (3,), length, dtype=torch.float32)
    options: dict[str, Any] = {"feature_map": name, "is_causal": is_causal}
    expected = with_gradients(linear_attention, tensors, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = with_gradients(linear_attention, tensors, **options)
        unrecorded = linear_attention(*(x.detach() for x in tensors), **options)
    assert all(map(torch.equal, actual, expected))
    assert torch.equal(unrecorded, expected[0])


@EVERY_MAP
def test_autocast_does_not_change_the_weights(name: str) -> None:
    query, key, _ = heads(name, (3,), 70, dtype=torch.float32)
    expected = linear_attention_weights(query, key, feature_map=name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = linear_attention_weights(query, key, feature_map=name)
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-7)


# --- memory


class LargestTensor(TorchDispatchMode):
    """Notes the most numbers in any tensor that an operation makes, views aside."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.known = {x.untyped_storage().data_ptr() for x in known}
        self.numbers: list[int] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in self.known:
                self.numbers.append(x.untyped_storage().nbytes() // x.element_size())
        return result


def test_the_watch_sees_a_square() -> None:
    query, key, value = heads("elu", (), 100)
    with LargestTensor() as watch:
        by_weights("elu", query, key, value)
    assert max(watch.numbers) == 100 * 100


@FORMS
@EVERY_MAP
def test_no_square_of_the_length_is_ever_made(name: str, is_causal: bool) -> None:
    length = 20_000
    tensors = heads(name, (), length, head_dim=4, value_dim=4, dtype=torch.float32)
    mask = torch.arange(length)[None] % 7 != 3
    with LargestTensor() as watch:
        with_gradients(
            linear_attention, tensors, feature_map=name, attention_mask=mask, is_causal=is_causal
        )
    assert max(watch.numbers) < length**2 / 100


@pytest.mark.parametrize("name", ["elu", "relu", "favor"])
@pytest.mark.parametrize("queries", [20_000, 19_999])
def test_beyond_the_output_a_bidirectional_call_makes_only_blocks(queries: int, name: str) -> None:
    tensors = [x.detach() for x in heads(name, (), queries, 20_000, head_dim=16, value_dim=24)]
    with LargestTensor(*tensors) as watch:
        output = linear_attention(*tensors, feature_map=name)
    of_output = output.numel()
    others = [numbers for numbers in watch.numbers if numbers != of_output]
    assert of_output in watch.numbers
    assert max(others) <= CPU_BLOCK_ELEMENTS < of_output


@FORMS
def test_memory_grows_in_proportion_to_the_length(is_causal: bool) -> None:
    def largest(length: int) -> int:
        tensors = heads("elu", (), length, head_dim=16, value_dim=8, dtype=torch.float32)
        with LargestTensor(*tensors) as watch:
            with_gradients(linear_attention, tensors, is_causal=is_causal)
        return max(watch.numbers)

    assert largest(80_000) <= 4.1 * largest(20_000)
