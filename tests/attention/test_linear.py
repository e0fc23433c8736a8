"""Linear attention against a loop over tokens and against its T×T weights, with gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from linear_cases import (
    HEAD_DIM,
    MAPS,
    assert_all_close,
    by_token_loop,
    by_weights,
    draw,
    earlier_state,
    heads,
    state_of,
    with_gradients,
)
from torch import Tensor

from qkv.attention import blocks, linear_attention
from qkv.attention.feature_maps import feature_map_for
from qkv.attention.reference import naive_linear_attention, quadratic_linear_attention

# On both sides of one chunk of 64 tokens, and of several.
LENGTHS = [1, 2, 61, 63, 64, 65, 127, 200]
FORMS = pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])
EVERY_MAP = pytest.mark.parametrize("name", MAPS)


# --- agreement


@FORMS
@EVERY_MAP
@pytest.mark.parametrize("length", LENGTHS)
def test_output_and_gradients_equal_the_token_loop(length: int, name: str, is_causal: bool) -> None:
    tensors = heads(name, (), length)
    options = {"is_causal": is_causal}
    assert_all_close(
        with_gradients(linear_attention, tensors, feature_map=name, **options),
        with_gradients(by_token_loop, tensors, name, **options),
    )


@FORMS
@EVERY_MAP
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
@pytest.mark.parametrize("length", [7, 130])
def test_every_batch_shape_equals_the_quadratic_form(
    length: int, batch: tuple[int, ...], name: str, is_causal: bool
) -> None:
    tensors = heads(name, batch, length, value_dim=7)
    quadratic = quadratic_linear_attention(
        *tensors, feature_map=feature_map_for(name, HEAD_DIM), is_causal=is_causal
    )
    if name == "relu":  # the plain form has no answer for a query that matches no key
        quadratic = quadratic.nan_to_num(0.0)
    actual = with_gradients(linear_attention, tensors, feature_map=name, is_causal=is_causal)
    torch.testing.assert_close(actual[0], quadratic, rtol=1e-10, atol=1e-10)
    assert_all_close(actual, with_gradients(by_weights, tensors, name, is_causal=is_causal))


@EVERY_MAP
@pytest.mark.parametrize(("queries", "keys"), [(1, 200), (200, 1), (63, 130), (130, 64), (3, 2)])
def test_queries_and_keys_of_unequal_number(queries: int, keys: int, name: str) -> None:
    tensors = heads(name, (2,), queries, keys)
    assert_all_close(
        with_gradients(linear_attention, tensors, feature_map=name),
        with_gradients(by_weights, tensors, name),
    )


def test_the_default_map_is_elu_plus_one() -> None:
    tensors = heads("elu", (2,), 67)
    torch.testing.assert_close(
        linear_attention(*tensors), naive_linear_attention(*tensors), rtol=1e-12, atol=1e-12
    )


def test_a_hand_computed_case() -> None:
    # φ(0) = 1 and φ(2) = 3: weights 1 and 3, so 1/4 and 3/4.
    query, key = torch.tensor([[0.0], [5.0]]), torch.tensor([[0.0], [2.0]])
    value = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    expected = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    torch.testing.assert_close(linear_attention(query, key, value), expected)
    expected[0] = torch.tensor([4.0, 0.0])
    torch.testing.assert_close(linear_attention(query, key, value, is_causal=True), expected)


@FORMS
def test_a_long_single_row_and_values_that_are_a_strided_view(is_causal: bool) -> None:
    # Long enough for the products that run side by side.
    query, key = (draw(1, 4100, 4, seed=seed).requires_grad_() for seed in (1, 2))
    value = draw(4100, 3, 1, seed=3).transpose(0, 1)[1:2, :, :].expand(1, 4100, 2)
    tensors = [query, key, value.detach().requires_grad_()]
    assert tensors[2].stride() != tensors[2].contiguous().stride()
    actual = with_gradients(linear_attention, tensors, is_causal=is_causal)
    # Prefix sums by another route than chunks.
    expected = with_gradients(_by_cumulative_sums, tensors, is_causal)
    assert_all_close(actual, expected, tolerance=1e-9)


def _by_cumulative_sums(is_causal: bool, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    mapped, offers = (torch.nn.functional.elu(x) + 1 for x in (query, key))
    outer, sums = offers[..., None] * value[..., None, :], offers
    if is_causal:
        outer, sums = outer.cumsum(dim=1), sums.cumsum(dim=1)
    else:
        outer, sums = outer.sum(dim=1, keepdim=True), sums.sum(dim=1, keepdim=True)
    numerator = (mapped[..., None] * outer).sum(dim=2)
    return numerator / (mapped * sums).sum(dim=-1, keepdim=True)


# --- masks


MASKS = {
    "one for all": draw(130, seed=3) > 0,
    "a row of one": draw(1, 130, seed=3) > 0,
    "for each item": draw(2, 1, 1, 130, seed=3) > 0,
    "for each head": draw(3, 1, 130, seed=3) > 0,
    "for each": draw(2, 3, 1, 130, seed=3) > 0,
    "all hidden": torch.zeros(130, dtype=torch.bool),
    "prefix hidden": torch.arange(130) >= 70,
    "suffix hidden": torch.arange(130) < 3,
}


@FORMS
@EVERY_MAP
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masked_keys_do_not_count(mask: Tensor, name: str, is_causal: bool) -> None:
    tensors = heads(name, (2, 3), 130)
    options: dict[str, Any] = {"attention_mask": mask, "is_causal": is_causal}
    assert_all_close(
        with_gradients(linear_attention, tensors, feature_map=name, **options),
        with_gradients(by_weights, tensors, name, **options),
    )


@FORMS
@EVERY_MAP
def test_a_masked_row_equals_the_token_loop(name: str, is_causal: bool) -> None:
    tensors = heads(name, (2,), 67)
    mask = draw(2, 1, 67, seed=3) > 0
    mask[0], mask[1, :, :5] = False, False
    options: dict[str, Any] = {"attention_mask": mask, "is_causal": is_causal}
    actual = with_gradients(linear_attention, tensors, feature_map=name, **options)
    assert_all_close(actual, with_gradients(by_token_loop, tensors, name, **options))
    assert all(tensor[0].abs().max() == 0.0 for tensor in actual)
    if is_causal:
        assert actual[0][1, :5].abs().max() == 0.0
        assert actual[0][1, 30:].abs().max() > 0.0


@FORMS
def test_a_mask_equals_leaving_the_keys_out(is_causal: bool) -> None:
    query, key, value = heads("elu", (2,), 90)
    kept = torch.arange(90) % 3 != 1
    masked = linear_attention(query, key, value, attention_mask=kept, is_causal=is_causal)
    left = linear_attention(query[:, kept], key[:, kept], value[:, kept], is_causal=is_causal)
    torch.testing.assert_close(masked[:, kept], left, rtol=1e-12, atol=1e-12)


# --- gradients


@FORMS
@EVERY_MAP
@pytest.mark.parametrize("length", [3, 66])
def test_gradients_of_output_and_state_in_double_precision(
    length: int, name: str, is_causal: bool
) -> None:
    tensors = heads(name, (2,), length, head_dim=2, value_dim=1)
    mask = draw(2, 1, length, seed=7) > -1
    mask[0, :, :1] = False
    map_ = feature_map_for(name, 2)
    earlier = map_(tensors[1][:, :2].detach())
    start = [earlier.transpose(1, 2) @ tensors[2][:, :2].detach(), earlier.sum(dim=1)]
    tensors += [part.detach().requires_grad_() for part in start]

    def attend(*xs: Tensor) -> tuple[Tensor, ...]:
        output, state = linear_attention(
            *xs[:3],
            feature_map=name,
            attention_mask=mask,
            is_causal=is_causal,
            initial_state=state_of(*xs[3:]),
            return_state=True,
        )
        return output, state.key_value, state.normaliser

    assert torch.autograd.gradcheck(attend, tensors, fast_mode=length > 3)
    assert torch.autograd.gradcheck(
        lambda *xs: linear_attention(*xs, feature_map=name, is_causal=is_causal),
        tensors[:3],
        fast_mode=length > 3,
    )


@FORMS
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_gradient_that_comes_through_one_result_alone(part: int, is_causal: bool) -> None:
    tensors = heads("elu", (2,), 70)

    def one(*xs: Tensor) -> Tensor:
        output, state = linear_attention(*xs, is_causal=is_causal, return_state=True)
        return (output, *state)[part]

    def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        offers = torch.nn.functional.elu(key) + 1
        output = by_weights("elu", query, key, value, is_causal=is_causal)
        return (output, offers.transpose(1, 2) @ value, offers.sum(dim=1))[part]

    assert_all_close(with_gradients(one, tensors), with_gradients(plain, tensors))


@FORMS
@pytest.mark.parametrize("wanted", range(5))
def test_a_gradient_asked_of_one_input_alone(wanted: int, is_causal: bool) -> None:
    tensors = [*heads("elu", (2,), 70), *earlier_state("elu", (2,))]

    def attend(*xs: Tensor) -> Tensor:
        return linear_attention(*xs[:3], is_causal=is_causal, initial_state=state_of(*xs[3:]))

    expected = with_gradients(attend, tensors)[1 + wanted]
    alone = [x.detach().requires_grad_(index == wanted) for index, x in enumerate(tensors)]
    output = attend(*alone)
    upstream = draw(*output.shape, seed=9)
    torch.testing.assert_close(torch.autograd.grad(output, alone[wanted], upstream)[0], expected)


@FORMS
@pytest.mark.parametrize("elements", [320, blocks.CPU_BLOCK_ELEMENTS])
def test_nothing_that_is_given_is_changed(
    elements: int, is_causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "CPU_BLOCK_ELEMENTS", elements)
    tensors = [*heads("elu", (2,), 70), *earlier_state("elu", (2,))]
    before = [x.detach().clone() for x in tensors]
    output, state = linear_attention(
        *tensors[:3],
        is_causal=is_causal,
        initial_state=state_of(*tensors[3:]),
        return_state=True,
    )
    results = [output, state.key_value, state.normaliser]
    upstream = [draw(*x.shape, seed=index) for index, x in enumerate(results)]
    kept = [x.clone() for x in upstream]
    torch.autograd.backward(results, upstream)
    assert all(map(torch.equal, [*tensors, *upstream], [*before, *kept]))


@FORMS
def test_a_kept_graph_gives_its_gradient_twice(is_causal: bool) -> None:
    tensors = heads("elu", (2,), 140)
    output = linear_attention(*tensors, is_causal=is_causal)
    upstream = draw(*output.shape)
    first = torch.autograd.grad(output, tensors, upstream, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(output, tensors, upstream)))
