"""A sequence in pieces gives what one call gives, forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_cases import (
    MAPS,
    assert_all_close,
    by_weights,
    draw,
    features,
    heads,
    state_of,
    with_gradients,
)
from torch import Tensor

from qkv.attention import LinearAttentionState, linear_attention

BATCHES = st.lists(st.integers(1, 3), max_size=2).map(tuple)
PIECES = st.lists(st.integers(1, 130), min_size=1, max_size=4)
FORMS = pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])


def in_pieces(
    name: str,
    pieces: list[int],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """The outputs of one causal call for each piece, and the last state, as one vector."""
    outputs, state, start = [], None, 0
    for length in pieces:
        part = slice(start, start + length)
        output, state = linear_attention(
            *(x[..., part, :] for x in (query, key, value)),
            feature_map=name,  # type: ignore[arg-type]
            attention_mask=None if mask is None else mask[..., part],
            is_causal=True,
            initial_state=state,
            return_state=True,
        )
        outputs.append(output)
        start += length
    assert state is not None
    return torch.cat([torch.cat(outputs, dim=-2).flatten(), *map(torch.flatten, state)])


@given(st.sampled_from(MAPS), BATCHES, PIECES, st.booleans())
@settings(max_examples=60)
def test_pieces_equal_one_call(
    name: str, batch: tuple[int, ...], pieces: list[int], masked: bool
) -> None:
    tensors = heads(name, batch, sum(pieces), head_dim=3, value_dim=2)
    mask = draw(*batch, 1, sum(pieces), seed=4) > 0 if masked else None
    assert_all_close(
        with_gradients(in_pieces, tensors, name, pieces, mask=mask),
        with_gradients(in_pieces, tensors, name, [sum(pieces)], mask=mask),
    )
    output = in_pieces(name, pieces, *tensors, mask=mask)
    expected = by_weights(name, *tensors, attention_mask=mask, is_causal=True).flatten()
    torch.testing.assert_close(output[: len(expected)], expected, rtol=1e-9, atol=1e-10)


def test_token_by_token_is_one_call() -> None:
    tensors = heads("elu", (2,), 70)
    assert_all_close(
        with_gradients(in_pieces, tensors, "elu", [1] * 70),
        with_gradients(in_pieces, tensors, "elu", [70]),
    )


@given(st.sampled_from(MAPS), BATCHES, PIECES, st.integers(1, 70), st.booleans())
@settings(max_examples=40)
def test_keys_seen_earlier_count_for_every_query(
    name: str, batch: tuple[int, ...], pieces: list[int], queries: int, masked: bool
) -> None:
    keys = sum(pieces)
    tensors = heads(name, batch, queries, keys, head_dim=3, value_dim=2)
    mask = draw(*batch, 1, keys, seed=4) > 0 if masked else torch.ones(1, keys, dtype=torch.bool)

    def in_turn(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        state, start = None, 0
        for length in pieces:
            part = slice(start, start + length)
            output, state = linear_attention(
                query,
                key[..., part, :],
                value[..., part, :],
                feature_map=name,  # type: ignore[arg-type]
                attention_mask=mask[..., part],
                initial_state=state,
                return_state=True,
            )
            start += length
        return output

    assert_all_close(
        with_gradients(in_turn, tensors),
        with_gradients(by_weights, tensors, name, attention_mask=mask),
    )


@FORMS
@pytest.mark.parametrize("name", ["identity", "relu", "elu", "favor"])
def test_the_state_is_its_sums(name: str, is_causal: bool) -> None:
    query, key, value = heads(name, (2, 3), 131)
    mask = draw(2, 3, 1, 131, seed=4) > 0
    options: dict[str, Any] = {"feature_map": name, "is_causal": is_causal}
    _, state = linear_attention(
        query, key, value, attention_mask=mask, return_state=True, **options
    )
    offers = features(name, key) * mask[..., 0, :, None]
    assert isinstance(state, LinearAttentionState)
    sums = offers.sum(dim=-2)
    assert_all_close(state, [torch.einsum("...tf,...tv->...fv", offers, value), sums, sums])


@FORMS
def test_the_state_of_signed_features_knows_their_magnitudes(is_causal: bool) -> None:
    query, value = torch.ones(2, 131, 1, dtype=torch.float64), draw(2, 131, 3)
    key = draw(2, 131, 1, seed=1) + 1.5
    key[:, 0] = 9.0  # so that no prefix cancels
    mask = draw(2, 1, 131, seed=4) > -1
    state = None
    for part in (slice(0, 70), slice(70, 71), slice(71, 131)):
        _, state = linear_attention(
            query[:, part],
            key[:, part],
            value[:, part],
            feature_map="identity",
            attention_mask=mask[..., part] | (key[:, None, part, 0] == 9.0),
            is_causal=is_causal,
            initial_state=state,
            return_state=True,
        )
    assert state is not None
    mask[..., 0] = True
    seen = key * mask.transpose(1, 2)
    assert seen.min() < -0.1
    assert_all_close(state, [seen.transpose(1, 2) @ value, seen.sum(dim=1), seen.abs().sum(dim=1)])


@FORMS
def test_a_state_of_zeros_changes_nothing(is_causal: bool) -> None:
    tensors = heads("elu", (2,), 70)
    zero = state_of(
        torch.zeros(2, 5, 3, dtype=torch.float64), torch.zeros(2, 5, dtype=torch.float64)
    )
    output = linear_attention(*tensors, is_causal=is_causal, initial_state=zero)
    torch.testing.assert_close(output, linear_attention(*tensors, is_causal=is_causal))


def test_pieces_that_are_masked_away_or_empty_change_nothing() -> None:
    query, key, value = heads("elu", (2,), 9)
    _, state = linear_attention(query, key, value, is_causal=True, return_state=True)
    hidden = torch.zeros(1, 9, dtype=torch.bool)
    output, after = linear_attention(
        query, key, value, is_causal=True, attention_mask=hidden,
        initial_state=state, return_state=True,
    )  # fmt: skip
    assert_all_close(after, state)
    # Every query of the hidden piece still sees the earlier keys.
    torch.testing.assert_close(output, linear_attention(query, key, value))
    _, after = linear_attention(
        query[:, :0], key[:, :0], value[:, :0], is_causal=True,
        initial_state=state, return_state=True,
    )  # fmt: skip
    assert_all_close(after, state)


@FORMS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_stream_through_a_float32_state(dtype: torch.dtype, is_causal: bool) -> None:
    tensors = heads("elu", (2,), 140, dtype=dtype)
    options: dict[str, Any] = {"is_causal": is_causal, "return_state": True}
    _, whole = linear_attention(*tensors, **options)
    _, state = linear_attention(*(x[:, :65] for x in tensors), **options)
    _, state = linear_attention(*(x[:, 65:] for x in tensors), initial_state=state, **options)
    assert [part.dtype for part in state] == [torch.float32] * 3
    assert_all_close(state, whole, tolerance=1e-5)


@FORMS
def test_a_state_can_be_used_twice(is_causal: bool) -> None:
    query, key, value = heads("elu", (2,), 70)
    options: dict[str, Any] = {"is_causal": is_causal}
    _, state = linear_attention(query, key, value, return_state=True, **options)
    kept = [part.clone() for part in state]
    first = linear_attention(query, key, value, initial_state=state, **options)
    second = linear_attention(query, key, value, initial_state=state, **options)
    assert torch.equal(first, second)
    assert all(map(torch.equal, state, kept))


@FORMS
@pytest.mark.parametrize("length", [0, 3, 64, 130])
def test_a_returned_state_is_memory_of_its_own(length: int, is_causal: bool) -> None:
    query, key, value = (x.detach() for x in heads("elu", (2,), 70))
    _, state = linear_attention(query, key, value, return_state=True)
    kept = [part.clone() for part in state]
    _, after = linear_attention(
        *(x[:, :length].repeat(1, 2, 1)[:, :length] for x in (query, key, value)),
        is_causal=is_causal,
        initial_state=state,
        return_state=True,
    )
    for part in after:
        part.zero_()
    assert all(map(torch.equal, state, kept))


@FORMS
def test_a_returned_state_keeps_no_more_memory_than_its_own(is_causal: bool) -> None:
    tensors = [x.detach() for x in heads("taylor", (1,), 1000, head_dim=24)]
    _, state = linear_attention(
        *tensors, feature_map="taylor", is_causal=is_causal, return_state=True
    )
    for part in state:
        assert part.untyped_storage().nbytes() <= 2 * part.numel() * part.element_size()
