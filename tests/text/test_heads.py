"""What every head promises: padding and batch-mates change nothing, and its logits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from head_cases import DIM, HEADS, batch, head, parsed
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from qkv.attention import softmax_attention
from qkv.errors import ShapeError
from qkv.text.heads import (
    AttentionHead,
    AttentionHeadSettings,
    GRUHeadSettings,
    MeanHeadSettings,
    build_head,
)

NAMES = list(HEADS)


def parameters_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_printed_gru_has_the_printed_number_of_parameters() -> None:
    printed = GRUHeadSettings()
    assert (printed.hidden_size, printed.num_layers, printed.dropout) == (256, 2, 0.25)
    assert parameters_of(build_head(printed, 768, 2)) == 2_759_169


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fill", [math.nan, math.inf, -math.inf, 1e30])
def test_padding_never_reaches_a_head(name: str, fill: float) -> None:
    model = head(name, 3)
    states, mask = batch([4, 9, 1, 6])
    parameters = list(model.parameters())
    answers = []
    for content in (0.0, fill):
        given = states.masked_fill(~mask[..., None], content).requires_grad_()
        logits, named = model.forward_with_intermediates(given, mask)
        weighed = logits.square().sum()
        answers.append(
            [logits, *named.values(), *torch.autograd.grad(weighed, [given, *parameters])]
        )
    for clean, dirty in zip(*answers, strict=True):
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("name", NAMES)
@given(
    lengths=st.lists(st.integers(1, 14), min_size=2, max_size=9),
    extra=st.integers(0, 5),
    seed=st.integers(0, 99),
)
@settings(max_examples=12)
def test_logits_do_not_depend_on_batch_mates(
    name: str, lengths: list[int], extra: int, seed: int
) -> None:
    model = head(name, 3)
    states, mask = batch(lengths, seed=seed)
    states, mask = F.pad(states, (0, 0, 0, extra), value=math.nan), F.pad(mask, (0, extra))
    with torch.no_grad():
        together = model(states, mask)
        for row, length in enumerate(lengths):
            alone = model(states[row : row + 1, :length], mask[row : row + 1, :length])
            torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_tokens_may_stand_anywhere(name: str) -> None:
    model = head(name, 3)
    states, mask = batch([5, 3])
    places = torch.tensor([1, 2, 4, 7, 8])
    spread, marked = torch.full((2, 10, DIM), math.nan), torch.zeros(2, 10, dtype=torch.bool)
    spread[:, places], marked[:, places] = states, mask
    torch.testing.assert_close(model(spread, marked), model(states, mask), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_two_classes_are_one_output_and_cross_entropy_is_bce(name: str) -> None:
    model = head(name)
    logits = model(*batch([3, 5, 2]))
    assert model.output.out_features == 1
    assert torch.equal(logits[:, 0], torch.zeros(3))
    labels = torch.tensor([1, 0, 1])
    torch.testing.assert_close(
        F.cross_entropy(logits, labels),
        F.binary_cross_entropy_with_logits(logits[:, 1], labels.float()),
    )
    assert head(name, 5)(*batch([3, 5, 2])).shape == (3, 5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_stays_near(name: str, dtype: torch.dtype) -> None:
    model = head(name)
    states, mask = batch([8, 3, 11])
    expected = model(states, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = model(states.to(dtype), mask)
    torch.testing.assert_close(answer.float(), expected, rtol=0.05, atol=0.03)
    # Without autocast halves are read in the precision of the weights.
    assert model(states.to(dtype), mask).dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_alone_and_follows_the_seed(name: str) -> None:
    model = head(name, 3, dropout=0.5)
    inputs = batch([8, 3, 11])
    assert torch.equal(model(*inputs), model(*inputs))
    model.train()
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(model(*inputs))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("name", NAMES)
def test_a_text_without_tokens_is_refused_by_its_number(name: str) -> None:
    states, mask = batch([3, 5, 2])
    mask[1] = False
    with pytest.raises(ShapeError, match=r"text 1 of the batch has no token; mark at least one"):
        head(name)(states, mask)


@pytest.mark.usefixtures("unchecked")
def test_wrong_shapes_and_dtypes_are_refused() -> None:
    model = head("mean")
    states, mask = batch([3, 5])
    with pytest.raises(ShapeError, match="states have shape"):
        model(states[0], mask)
    with pytest.raises(ShapeError, match="states have shape .* torch.int64"):
        model(states.long(), mask)
    with pytest.raises(ShapeError, match=r"attention_mask has shape \(2, 4\)"):
        model(states, mask[:, :4])
    with pytest.raises(ShapeError, match="torch.float32 beside"):
        model(states, mask.float())
    with pytest.raises(ShapeError, match="no text"):
        model(states[:0], mask[:0])


def test_settings_are_told_apart_by_kind() -> None:
    assert parsed({"kind": "gru"}) == GRUHeadSettings()
    assert parsed({"kind": "attention", "num_queries": 2}) == AttentionHeadSettings(num_queries=2)
    assert parsed({"kind": "mean"}) == MeanHeadSettings()
    for wrong in ({"kind": "cnn"}, {"hidden_size": 3}, {"kind": "mean", "num_queries": 1}):
        with pytest.raises(ValidationError):
            parsed(wrong)


def test_the_mean_is_over_the_tokens() -> None:
    model = head("mean", 3)
    states, mask = batch([4, 2])
    means = torch.stack([states[0, :4].mean(dim=0), states[1, :2].mean(dim=0)])
    torch.testing.assert_close(model(states, mask), model.output(means))


# The attention head against its formula, and each of its settings.

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
