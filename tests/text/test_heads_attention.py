"""The attention head against its formula, and each of its settings."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from head_cases import DIM, batch, head
from pydantic import ValidationError
from torch import Tensor

from qkv.attention import softmax_attention
from qkv.errors import ShapeError
from qkv.text.heads import AttentionHead, AttentionHeadSettings, build_head

EVERYTHING = "attention, everything"


def attention_head(name: str, **changes: object) -> AttentionHead:
    model = head(name, 3, **changes)
    assert isinstance(model, AttentionHead)
    return model


def pooled_one_by_one(model: AttentionHead, states: Tensor, mask: Tensor) -> Tensor:
    """The same, one text, query and head at a time."""
    heads, rows = model.num_heads, []
    for text, marked in zip(states, mask, strict=True):
        x = text[marked]
        if model.norm is not None:
            x = model.norm(x)
        if model.token_mlp is not None:
            x = F.gelu(model.token_mlp(x))
        value = x if model.value is None else model.value(x)
        parts = []
        for query in range(model.num_queries):
            for part, (x_part, value_part) in enumerate(
                zip(x.chunk(heads, dim=1), value.chunk(heads, dim=1), strict=True)
            ):
                asked = model.query.weight[query * heads + part]
                parts.append(
                    softmax_attention(asked[None], x_part, value_part, scale=1.0)[0]  # the kernel
                )
        if model.max_pool:
            parts.append(value.amax(dim=0))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


@pytest.mark.parametrize("name", ["attention", "attention, plain", EVERYTHING])
@pytest.mark.parametrize("max_pool", [False, True])
@pytest.mark.parametrize("value_dim", [0, 6])
def test_it_pools_as_its_formula_says(name: str, max_pool: bool, value_dim: int) -> None:
    model = attention_head(name, max_pool=max_pool, value_dim=value_dim)
    states, mask = batch([5, 9, 1, 3])
    pooled, _ = model.pool(states, mask)
    torch.testing.assert_close(pooled, pooled_one_by_one(model, states, mask))


def test_its_weights_sum_to_one_over_the_tokens_alone() -> None:
    states, mask = batch([5, 9, 1])
    _, one = attention_head("attention").forward_with_intermediates(states, mask)
    _, several = attention_head(EVERYTHING).forward_with_intermediates(states, mask)
    assert one["pool_weights"].shape == (3, 4, 9)
    assert several["pool_weights"].shape == (3, 3, 2, 9)
    for weights in (one["pool_weights"], several["pool_weights"].flatten(1, 2)):
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:2]))
        assert torch.equal(weights.amax(dim=1) > 0, mask)


def test_token_dropout_hides_its_share_but_never_the_first_token() -> None:
    model = attention_head("attention", token_dropout=0.5).train()
    states, mask = batch([400, 2])
    _, named = model.forward_with_intermediates(states, mask)
    seen = named["pool_weights"][:, 0] > 0
    assert seen[:, 0].all()
    assert 150 < int(seen[0].sum()) < 250
    assert not seen[1, 2:].any()
    _, named = model.eval().forward_with_intermediates(states, mask)
    assert torch.equal(named["pool_weights"][:, 0] > 0, mask)


def test_hidden_tokens_are_hidden_from_the_largest_value_too() -> None:
    model = attention_head(
        "attention, plain", max_pool=True, token_dropout=0.9, dropout=0.0
    ).train()
    states, mask = batch([40])
    states[0, 1:] += 100.0
    largest = torch.stack([model.pool(states, mask)[0][0, DIM:] for _ in range(40)])
    # Sometimes the first token alone is seen.
    assert (largest.amax(dim=1) < 50.0).any()


def test_state_dropout_acts_on_states() -> None:
    model = attention_head("attention", state_dropout=0.5, token_dropout=0.0, dropout=0.0).train()
    inputs = batch([6])
    assert not torch.equal(model(*inputs), model(*inputs))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="num_heads 3 does not divide token_mlp_dim 256"):
        AttentionHeadSettings(num_heads=3)
    with pytest.raises(ValidationError, match="does not divide value_dim 10"):
        AttentionHeadSettings(num_heads=4, value_dim=10)
    with pytest.raises(ShapeError, match="5 heads do not divide tokens of width 12"):
        build_head(AttentionHeadSettings(num_heads=5, token_mlp_dim=0), DIM, 2)


def test_its_gradient() -> None:
    model = attention_head(EVERYTHING).double()
    states, mask = batch([3, 5])
    wide = states.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model(x, mask), wide, fast_mode=True)
