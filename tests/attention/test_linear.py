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
    heads,
    with_gradients,
)
from torch import Tensor

from qkv.attention import LinearAttentionState, blocks, linear_attention
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


# --- shapes and memory layouts


@FORMS
@pytest.mark.parametrize(
    ("query", "key", "value"),
    [
        ((2, 3), (2, 1), (2, 1)),
        ((2, 3), (3,), ()),
        ((1, 3), (2, 1), (1, 1)),
        ((), (2,), (3, 1)),
        ((2, 1), (2, 1), (2, 3)),
        ((1,), (1,), (4,)),
    ],
    ids=str,
)
def test_batch_dimensions_broadcast(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], is_causal: bool
) -> None:
    length = 66
    tensors = [
        draw(*batch, length, width, seed=width).requires_grad_()
        for batch, width in [(query, 5), (key, 5), (value, 3)]
    ]
    batch = torch.broadcast_shapes(query, key, value)
    mask = draw(*batch, 1, length, seed=8) > -1
    options: dict[str, Any] = {"is_causal": is_causal, "attention_mask": mask}

    def expanded(*small: Tensor) -> Tensor:
        return linear_attention(*(x.expand(*batch, -1, -1).contiguous() for x in small), **options)

    actual = with_gradients(linear_attention, tensors, **options)
    assert actual[0].shape == (*batch, length, 3)
    assert_all_close(actual, with_gradients(expanded, tensors))
    assert_all_close(actual, with_gradients(by_weights, tensors, "elu", **options))


@FORMS
@EVERY_MAP
def test_views_of_packed_heads_need_no_copy_by_the_caller(name: str, is_causal: bool) -> None:
    packed = draw(2, 67, 3, 2, HEAD_DIM).abs().add(0.1).requires_grad_()  # (b, t, 3, h, d)
    whole = packed.detach().permute(2, 0, 3, 1, 4).contiguous()
    separate = [part.requires_grad_() for part in whole.unbind(0)]
    output = linear_attention(
        *packed.permute(2, 0, 3, 1, 4).unbind(0), feature_map=name, is_causal=is_causal
    )
    upstream = draw(2, 67, 2, HEAD_DIM, seed=4).transpose(1, 2)
    (gradient,) = torch.autograd.grad(output, packed, upstream)
    expected = by_weights(name, *separate, is_causal=is_causal)
    gradients = torch.autograd.grad(expected, separate, upstream)
    assert_all_close([output, gradient.permute(2, 0, 3, 1, 4)], [expected, torch.stack(gradients)])


@FORMS
def test_an_expanded_upstream_gradient(is_causal: bool) -> None:
    tensors = heads("elu", (2, 2), 70)
    linear_attention(*tensors, is_causal=is_causal).sum().backward()
    expected = by_weights("elu", *tensors, is_causal=is_causal).sum()
    assert_all_close([x.grad for x in tensors], torch.autograd.grad(expected, tensors))


@FORMS
@pytest.mark.parametrize("name", ["elu", "favor", "taylor"])
@pytest.mark.parametrize(
    ("batch", "elements"),
    [((), 1), ((), 320), ((), 700), ((7,), 320), ((7,), 700), ((7,), 3000), ((7,), 20_000)],
    ids=str,
)
def test_blocks_of_any_size_leave_no_seam(
    batch: tuple[int, ...],
    elements: int,
    name: str,
    is_causal: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    length = 201
    tensors = heads(name, batch, length)
    tensors += _state(name, batch)
    mask = draw(*batch, 1, length, seed=6) > -1
    mask[..., :2] = False

    def ours(*xs: Tensor) -> Tensor:
        state = LinearAttentionState(*xs[3:])
        options: dict[str, Any] = {"attention_mask": mask, "is_causal": is_causal}
        output, after = linear_attention(
            *xs[:3], feature_map=name, initial_state=state, return_state=True, **options
        )
        return torch.cat([output.flatten(), after.key_value.flatten(), after.normaliser.flatten()])

    whole = with_gradients(ours, tensors)
    monkeypatch.setattr(blocks, "CPU_BLOCK_ELEMENTS", elements)
    assert_all_close(with_gradients(ours, tensors), whole)


@pytest.mark.parametrize("elements", [1, 320, 3000])
def test_blocks_of_unequal_queries_and_keys(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CPU_BLOCK_ELEMENTS", elements)
    for queries, keys in [(3, 201), (201, 3), (130, 67)]:
        tensors = heads("elu", (5,), queries, keys)
        assert_all_close(
            with_gradients(linear_attention, tensors), with_gradients(by_weights, tensors, "elu")
        )


def _state(name: str, batch: tuple[int, ...]) -> list[Tensor]:
    """A state of earlier keys, as leaves."""
    _, key, value = heads(name, batch, 4)
    key = (key + 0.3).detach()
    mapped = feature_map_for(name, HEAD_DIM)(key)
    state = [mapped.transpose(-2, -1) @ value, mapped.sum(dim=-2)]
    return [part.detach().requires_grad_() for part in state]


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
            initial_state=LinearAttentionState(*xs[3:]),
            return_state=True,
        )
        return output, *state

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
    tensors = [*heads("elu", (2,), 70), *_state("elu", (2,))]

    def attend(*xs: Tensor) -> Tensor:
        return linear_attention(
            *xs[:3], is_causal=is_causal, initial_state=LinearAttentionState(*xs[3:])
        )

    expected = with_gradients(attend, tensors)[1 + wanted]
    alone = [x.detach().requires_grad_(index == wanted) for index, x in enumerate(tensors)]
    output = attend(*alone)
    upstream = draw(*output.shape, seed=9)
    torch.testing.assert_close(torch.autograd.grad(output, alone[wanted], upstream)[0], expected)


@FORMS
def test_nothing_that_is_given_is_changed(is_causal: bool) -> None:
    tensors = [*heads("elu", (2,), 70), *_state("elu", (2,))]
    before = [x.detach().clone() for x in tensors]
    output, state = linear_attention(
        *tensors[:3],
        is_causal=is_causal,
        initial_state=LinearAttentionState(*tensors[3:]),
        return_state=True,
    )
    results = [output, *state]
    upstream = [draw(*x.shape, seed=index) for index, x in enumerate(results)]
    kept = [x.clone() for x in upstream]
    torch.autograd.backward(results, upstream)
    assert all(map(torch.equal, [*tensors, *upstream], [*before, *kept]))


# --- no record, no tokens


@FORMS
@EVERY_MAP
def test_without_a_record_the_answer_is_the_same(name: str, is_causal: bool) -> None:
    tensors = heads(name, (2,), 70)
    recorded = linear_attention(*tensors, feature_map=name, is_causal=is_causal)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            output, state = linear_attention(
                *tensors, feature_map=name, is_causal=is_causal, return_state=True
            )
        assert not output.requires_grad
        assert not any(part.requires_grad for part in state)
        torch.testing.assert_close(output, recorded, rtol=1e-12, atol=1e-12)


@FORMS
@EVERY_MAP
@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (0,)], ids=str)
def test_no_tokens_at_all(batch: tuple[int, ...], name: str, is_causal: bool) -> None:
    length = 3 if 0 in batch else 0
    tensors = heads(name, batch, length)
    state = LinearAttentionState(*_state(name, batch))
    output, after = linear_attention(
        *tensors,
        feature_map=name,
        is_causal=is_causal,
        attention_mask=torch.ones(length, dtype=torch.bool),
        initial_state=state,
        return_state=True,
    )
    assert output.shape == (*batch, length, 3)
    assert_all_close(after, state)
    gradients = torch.autograd.grad(
        output.sum() + after.key_value.sum(), [*tensors, *state], materialize_grads=True
    )
    torch.testing.assert_close(gradients[3], torch.ones_like(gradients[3]))


@EVERY_MAP
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_no_keys_give_zeros_and_no_queries_give_none(batch: tuple[int, ...], name: str) -> None:
    output, state = linear_attention(*heads(name, batch, 4, 0), feature_map=name, return_state=True)
    assert torch.equal(output, torch.zeros(*batch, 4, 3, dtype=torch.float64))
    assert state.key_value.abs().max() == 0.0
    query, key, value = heads(name, batch, 0, 4)
    output, state = linear_attention(query, key, value, feature_map=name, return_state=True)
    assert output.shape == (*batch, 0, 3)
    expected = feature_map_for(name, HEAD_DIM)(key).sum(dim=-2)
    torch.testing.assert_close(state.normaliser, expected)
