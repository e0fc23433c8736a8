"""The matrix that linear attention implies, for inspection."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_cases import MAPS, by_weights, draw, features, heads, with_gradients

from qkv.attention import linear_attention, linear_attention_weights

FORMS = pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])
EVERY_MAP = pytest.mark.parametrize("name", MAPS)


@given(
    st.sampled_from(MAPS),
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
    st.integers(1, 9),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60)
def test_properties_at_any_shape(
    name: str, batch: tuple[int, ...], queries: int, keys: int, masked: bool, is_causal: bool
) -> None:
    query, key, value = heads(name, batch, keys if is_causal else queries, keys, head_dim=3)
    mask = draw(*batch, 1, keys, seed=4) > -0.5 if masked else None
    options: dict[str, Any] = {
        "feature_map": name, "attention_mask": mask, "is_causal": is_causal
    }  # fmt: skip
    weights = linear_attention_weights(query, key, **options)
    assert weights.shape == (*batch, query.shape[-2], keys)
    assert weights.min() >= 0
    output = linear_attention(query, key, value, **options)
    torch.testing.assert_close(weights @ value, output, rtol=1e-9, atol=1e-11)
    # A row sums to one, or to zero where the query may attend nowhere or matches no key.
    ones = linear_attention(query, key, torch.ones_like(value[..., :1]), **options)[..., 0]
    torch.testing.assert_close(weights.sum(dim=-1), ones, rtol=1e-9, atol=1e-11)
    assert (((ones - 1).abs() < 1e-9) | (ones == 0)).all()
    if name != "relu" and mask is None:
        assert (ones > 0.5).all()
    if mask is not None:
        assert weights.masked_select(~mask.expand_as(weights)).abs().sum() == 0
    if is_causal:
        assert weights.triu(1).abs().max() == 0


@FORMS
@EVERY_MAP
def test_each_weight_by_the_definition(name: str, is_causal: bool) -> None:
    query, key, _ = heads(name, (), 6)
    actual = linear_attention_weights(query, key, feature_map=name, is_causal=is_causal)
    mapped, offers = features(name, query), features(name, key)
    for i in range(6):
        seen = range(i + 1 if is_causal else 6)
        scores = [float((mapped[i] * offers[j]).sum().detach()) for j in seen]
        total = sum(scores)
        wanted = [score / total if total else 0.0 for score in scores] + [0.0] * (6 - len(scores))
        assert actual[i].tolist() == pytest.approx(wanted, abs=1e-10)


@FORMS
@EVERY_MAP
def test_gradients_are_those_of_the_quadratic_form(name: str, is_causal: bool) -> None:
    query, key, _ = heads(name, (2,), 9)
    mask = draw(2, 1, 9, seed=4) > 0
    mask[0] = False
    options: dict[str, Any] = {"attention_mask": mask, "is_causal": is_causal}
    unit = torch.eye(9, dtype=torch.float64).expand(2, 9, 9)
    actual = with_gradients(linear_attention_weights, [query, key], feature_map=name, **options)
    expected = with_gradients(lambda q, k: by_weights(name, q, k, unit, **options), [query, key])
    for got, wanted in zip(actual, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-10)
        assert got[0].abs().max() == 0.0


def test_batch_dimensions_and_masks_broadcast() -> None:
    query, key = draw(2, 1, 7, 5, seed=1), draw(3, 7, 5, seed=2)
    mask = draw(2, 1, 1, 7, seed=3) > 0
    weights = linear_attention_weights(query, key, attention_mask=mask)
    expected = linear_attention_weights(
        query.expand(2, 3, 7, 5), key.expand(2, 3, 7, 5), attention_mask=mask.expand(2, 3, 1, 7)
    )
    assert torch.equal(weights, expected)
    flat = linear_attention_weights(query, key, attention_mask=mask[0, 0])
    torch.testing.assert_close(flat[0], weights[0])


def test_half_precision_weights_are_normalised_in_single() -> None:
    query, key, _ = heads("elu", (2,), 300, dtype=torch.bfloat16)
    weights = linear_attention_weights(query, key)
    assert weights.dtype == torch.bfloat16
    exact = linear_attention_weights(query.double(), key.double())
    torch.testing.assert_close(weights.double(), exact, rtol=0.004, atol=1e-7)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (0,)], ids=str)
def test_no_tokens_give_an_empty_matrix(batch: tuple[int, ...]) -> None:
    for queries, keys in [(0, 0), (3, 0), (0, 3)]:
        query, key, _ = heads("elu", batch, queries, keys)
        weights = linear_attention_weights(
            query, key, attention_mask=torch.ones(1, keys, dtype=torch.bool)
        )
        assert weights.shape == (*batch, queries, keys)
