"""Linear attention on every shape and memory layout, in blocks of any size, and on no tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from linear_cases import (
    HEAD_DIM,
    MAPS,
    assert_all_close,
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

FORMS = pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])
EVERY_MAP = pytest.mark.parametrize("name", MAPS)


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
    tensors += earlier_state(name, batch)
    mask = draw(*batch, 1, length, seed=6) > -1
    mask[..., :2] = False

    def ours(*xs: Tensor) -> Tensor:
        state = state_of(*xs[3:])
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
    state = state_of(*earlier_state(name, batch))
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
        output.sum() + after.key_value.sum(), [*tensors, *state[:2]], materialize_grads=True
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
