"""What linear attention refuses, in words, and what it lets pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from linear_cases import MAPS, as_numpy, draw, heads, state_of
from torch import Tensor

from qkv.attention import (
    FAVOR,
    LinearAttentionState,
    linear_attention,
    linear_attention_weights,
    softmax_attention,
)
from qkv.errors import NormaliserError, QKVError, ShapeError

FORMS = pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


# --- identity: the assumption of positive products is enforced


@FORMS
def test_identity_on_positive_data_is_plain_row_normalisation(is_causal: bool) -> None:
    query, key, value = heads("identity", (2,), 90)
    q, k, v = map(as_numpy, (query, key, value))
    scores = q @ k.transpose(0, 2, 1)
    if is_causal:
        scores = np.tril(scores)
    expected = scores / scores.sum(axis=-1, keepdims=True) @ v
    output = linear_attention(query, key, value, feature_map="identity", is_causal=is_causal)
    np.testing.assert_allclose(as_numpy(output), expected, rtol=1e-11)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    ("keys", "is_causal", "problem"),
    [
        ([1, -1], False, "the weights of query 0 sum to 0, which leaves 0 of their magnitudes"),
        ([1, -1, 5], True, "the weights of query 1 sum to 0,"),
        ([-1, 2, 3], True, "the weights of query 0 sum to -1, which leaves -1 of"),
        ([-1, -2], False, "the weights of query 0 sum to -3, which leaves -1 of"),
        ([1, -0.9995], False, "the weights of query 0 sum to 0.0005, which leaves 0.00025 of"),
        ([0, 0], False, "the weights of query 0 sum to 0"),
        ([1] * 70 + [-70], True, "the weights of query 70 sum to 0,"),
    ],
)
def test_identity_refuses_weights_that_cancel(
    keys: list[float], is_causal: bool, problem: str, recorded: bool
) -> None:
    key = column(*keys).requires_grad_(recorded)
    query = torch.ones_like(key)
    options: dict[str, Any] = {"feature_map": "identity", "is_causal": is_causal}
    for call in (
        lambda: linear_attention(query, key, query, **options),
        lambda: linear_attention_weights(query, key, **options),
    ):
        with pytest.raises(NormaliserError) as caught:
            call()
        assert problem in caught.value.problem
        assert "not safely positive (feature map 'identity')" in caught.value.problem
        assert "positive feature map such as 'elu'" in caught.value.remedy
        assert "nan" not in caught.value.problem
        assert isinstance(caught.value, QKVError)


@FORMS
def test_identity_lets_signs_pass_where_the_sum_is_safe(is_causal: bool) -> None:
    key = column(1, -0.99, 0.5)
    query, value = torch.ones_like(key), column(3, 1, 2)
    output = linear_attention(query, key, value, feature_map="identity", is_causal=is_causal)
    last = (3 - 0.99 + 1) / (1 - 0.99 + 0.5)
    wanted = [3, (3 - 0.99) / 0.01, last] if is_causal else [last] * 3
    assert output[:, 0].tolist() == pytest.approx(wanted)


def test_the_row_of_a_batch_is_named() -> None:
    key = torch.ones(2, 3, 4, 1)
    key[1, 1, 2] = -3.0
    with pytest.raises(NormaliserError, match="query 0 of row 4 sum to 0"):
        linear_attention(torch.ones_like(key), key, key, feature_map="identity")
    with pytest.raises(NormaliserError, match="query 2 of row 4 sum to -1"):
        linear_attention(torch.ones_like(key), key, key, feature_map="identity", is_causal=True)


@FORMS
def test_identity_and_a_mask(is_causal: bool) -> None:
    key = column(2, -2, 3)
    query, value = torch.ones_like(key), column(5, 6, 10)
    options: dict[str, Any] = {"feature_map": "identity", "is_causal": is_causal}
    hidden = torch.tensor([[True, False, True]])
    output = linear_attention(query, key, value, attention_mask=hidden, **options)
    assert output[:, 0].tolist() == pytest.approx([5, 5, 8] if is_causal else [8, 8, 8])
    none = torch.zeros(1, 3, dtype=torch.bool)
    output = linear_attention(query, key, value, attention_mask=none, **options)
    assert output.abs().max() == 0.0
    both = torch.tensor([[True, True, False]])
    with pytest.raises(NormaliserError, match=f"query {int(is_causal)} sum to 0,"):
        linear_attention(query, key, value, attention_mask=both, **options)


@FORMS
def test_identity_and_an_initial_state(is_causal: bool) -> None:
    one = column(1)
    options: dict[str, Any] = {"feature_map": "identity", "is_causal": is_causal}

    def after(earlier: float, key: float) -> Tensor:
        state = LinearAttentionState(
            column(4 * earlier), column(earlier)[0], column(abs(earlier))[0]
        )
        return linear_attention(one, column(key), one, initial_state=state, **options)

    assert after(2.0, -1.0).item() == pytest.approx(7.0)  # (2·4 − 1·1)/(2 − 1)
    with pytest.raises(NormaliserError, match="sum to 0,"):
        after(-1.0, 1.0)
    with pytest.raises(NormaliserError, match="sum to -1,"):
        after(-2.0, 1.0)


@FORMS
def test_identity_remembers_what_has_cancelled_in_a_state(is_causal: bool) -> None:
    # The first query is safe with both keys; for the second they cancel to 1e-5.
    key = torch.tensor([[1.0, 1.0], [1.0, -0.99999], [1.0, 0.0]])
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    value = torch.tensor([[1.0], [2.0], [3.0]])
    options: dict[str, Any] = {"feature_map": "identity", "is_causal": is_causal}
    with pytest.raises(NormaliserError, match="query 2 sum to 1e-05"):
        linear_attention(query, key, value, **options)
    _, state = linear_attention(query[:2], key[:2], value[:2], return_state=True, **options)
    with pytest.raises(NormaliserError, match="query 0 sum to 1e-05"):
        linear_attention(query[2:], key[2:], value[2:], initial_state=state, **options)


# --- maps that are never negative


@FORMS
def test_a_relu_query_that_matches_no_key_gets_zeros(is_causal: bool) -> None:
    query = torch.tensor([[1.0, -1.0], [-1.0, 2.0], [-1.0, -1.0]]).requires_grad_()
    key = torch.tensor([[1.0, -1.0], [3.0, -1.0], [2.0, 0.0]]).requires_grad_()
    value = torch.tensor([[6.0], [3.0], [9.0]]).requires_grad_()
    output = linear_attention(query, key, value, feature_map="relu", is_causal=is_causal)
    first = 6.0 if is_causal else 33.0 / 6.0
    assert output[:, 0].tolist() == pytest.approx([first, 0.0, 0.0])
    output.sum().backward()
    assert all(x.grad.isfinite().all() for x in (query, key, value))
    assert query.grad[2].abs().max() == 0.0
    weights = linear_attention_weights(query, key, feature_map="relu", is_causal=is_causal)
    assert weights[1:].abs().max() == 0.0


@FORMS
@pytest.mark.parametrize(("name", "at"), [("elu", -1000.0), ("favor", 1000.0)])
def test_weights_that_underflow_are_an_error(name: str, at: float, is_causal: bool) -> None:
    query, key, value = (draw(2, 70, 4, seed=seed).float() for seed in range(3))
    query[1, 65] = at
    options: dict[str, Any] = {"feature_map": name, "is_causal": is_causal}
    problem = rf"weights of query 65 of row 1 sum to 0 in torch.float32 \(feature map '{name}'\)"
    with pytest.raises(NormaliserError, match=problem) as caught:
        linear_attention(query, key, value, **options)
    assert "scale queries and keys down" in caught.value.remedy
    with pytest.raises(NormaliserError, match=problem):
        linear_attention_weights(query, key, **options)
    # A query that sees no key at all has not underflowed.
    mask = torch.ones(2, 1, 70, dtype=torch.bool)
    mask[1] = False
    output = linear_attention(query, key, value, attention_mask=mask, **options)
    assert output[1].abs().max() == 0.0


def test_what_underflows_in_single_can_do_in_double() -> None:
    low = torch.full((3, 2), -60.0)
    with pytest.raises(NormaliserError, match="in torch.float32"):
        linear_attention(low, low, low)
    value = draw(3, 2)
    output = linear_attention(low.double(), low.double(), value)
    torch.testing.assert_close(output, value.mean(dim=0).expand(3, 2), rtol=1e-12, atol=1e-12)


def test_an_underflow_before_the_first_key_of_a_stream() -> None:
    query = torch.full((3, 2), -1000.0)
    state = state_of(torch.ones(2, 2), torch.ones(2))
    hidden = torch.zeros(1, 3, dtype=torch.bool)
    with pytest.raises(NormaliserError, match="query 0 sum to 0"):
        linear_attention(query, query, query, attention_mask=hidden, initial_state=state)


# --- NaN


@FORMS
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("length", [7, 150])
def test_nan_passes_through_as_through_softmax(length: int, name: str, is_causal: bool) -> None:
    options: dict[str, Any] = {"feature_map": name, "is_causal": is_causal}
    place = length - 3
    for part in range(3):
        tensors = [x.detach().clone() for x in heads(name, (2,), length)]
        clean = linear_attention(*tensors, **options)
        tensors[part][1, place] = torch.nan
        output = linear_attention(*tensors, **options)
        torch.testing.assert_close(output[0], clean[0])
        if part == 0:
            assert output[1, place].isnan().all()
            others = torch.arange(length) != place
            if name != "relu":
                torch.testing.assert_close(output[1, others], clean[1, others])
        else:
            reached = output[1, place if is_causal else 0 :].isnan().any(dim=-1)
            assert reached[-1]
            # A query that matches no key, which is zero by definition, is relu's alone.
            assert reached.all() or name == "relu"


@FORMS
def test_nan_in_one_query_does_not_hide_the_error_of_another(is_causal: bool) -> None:
    query, key = torch.ones(3, 1), torch.ones(3, 1)
    query[0], query[2] = torch.nan, -1.0
    with pytest.raises(NormaliserError, match="query 2 sum to -3"):
        linear_attention(query, key, key, feature_map="identity", is_causal=is_causal)


# --- shapes, dtypes, masks, states, names

A = torch.zeros(2, 5, 4)
STATE = state_of(torch.zeros(2, 4, 4), torch.zeros(2, 4))
BOOLS = torch.ones(2, 5, 5, dtype=torch.bool)


@pytest.mark.usefixtures("unchecked")
@FORMS
@pytest.mark.parametrize(
    ("arguments", "options", "problem", "remedy"),
    [
        ([A[0, 0], A, A], {}, r"query has shape \(4,\)", "at least"),
        ([A, A[0, 0], A], {}, r"key has shape \(4,\)", "at least"),
        ([A.long(), A.long(), A.long()], {}, "query has dtype torch.int64", "floating-point"),
        ([A, A.double(), A], {}, "key has dtype torch.float64", "one floating-point"),
        ([A.half(), A.half(), A], {}, "value has dtype torch.float32", "one floating-point"),
        ([A, A[..., :3], A], {}, "query has 4 features a head and key 3", "same head_dim"),
        ([A, A, A[:, :3]], {}, "key has 5 tokens and value 3", "same number of tokens"),
        ([A, A[:1].expand(3, 5, 4), A], {}, r"key has batch shape \(3,\)", "broadcast"),
        ([A, A, A[:1].expand(3, 5, 4)], {}, r"value has batch shape \(3,\)", "broadcast"),
        ([A, A, A], {"attention_mask": A[..., 0]}, "attention_mask has dtype", "booleans"),
        (
            [A, A, A],
            {"attention_mask": BOOLS[:, 0, :4]},
            r"attention_mask has shape \(2, 4\)",
            "shape of the weights",
        ),
        (
            [A, A, A],
            {"attention_mask": BOOLS},
            r"attention_mask has shape \(2, 5, 5\): a row for each query",
            "pass (…, 1, keys)",
        ),
        (
            [A, A, A],
            {"attention_mask": BOOLS[:1].expand(3, 5, 5)[:, :1]},
            r"attention_mask has shape \(3, 1, 5\)",
            "shape of the weights",
        ),
        ([A, A, A], {"feature_map": "eluu"}, "unknown feature map 'eluu'", "mean 'elu'"),
        ([A, A, A], {"feature_map": "favour"}, "unknown feature map 'favour'", "mean 'favor'"),
        (
            [A, A, A],
            {"feature_map": "x"},
            "unknown feature map 'x'",
            "elu, favor, identity, relu, taylor",
        ),
        (
            [A, A, A],
            {"feature_map": FAVOR(3)},
            "random features for head_dim 3 got vectors of 4",
            "width",
        ),
        (
            [A, A, A],
            {"initial_state": STATE._replace(key_value=torch.zeros(2, 4, 3))},
            r"key_value of the initial state is torch.float32 of shape \(2, 4, 3\)",
            "(2, 4, 4)",
        ),
        (
            [A, A, A],
            {"initial_state": STATE._replace(normaliser=torch.zeros(4))},
            r"normaliser of the initial state is torch.float32 of shape \(4,\)",
            "(2, 4)",
        ),
        (
            [A, A, A],
            {"initial_state": STATE, "feature_map": "taylor"},
            r"key_value of the initial state is torch.float32 of shape \(2, 4, 4\)",
            "(2, 15, 4)",
        ),
        (
            [A, A, A],
            {"initial_state": STATE._replace(normaliser=torch.zeros(2, 4).double())},
            "normaliser of the initial state is torch.float64",
            "torch.float32",
        ),
        (
            [A, A, A],
            {"initial_state": STATE._replace(magnitude=torch.zeros(2, 3))},
            r"magnitude of the initial state is torch.float32 of shape \(2, 3\)",
            "(2, 4)",
        ),
        (
            [A.half()] * 3,
            {"initial_state": LinearAttentionState(*(part.half() for part in STATE))},
            "key_value of the initial state is torch.float16",
            "torch.float32",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    arguments: list[Tensor], options: dict[str, Any], problem: str, remedy: str, is_causal: bool
) -> None:
    with pytest.raises(ShapeError, match=problem) as caught:
        linear_attention(*arguments, is_causal=is_causal, **options)
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)
    if "value" not in problem and "state" not in problem:
        with pytest.raises(ShapeError, match=problem):
            linear_attention_weights(*arguments[:2], is_causal=is_causal, **options)


@pytest.mark.usefixtures("unchecked")
def test_causal_attention_needs_as_many_queries_as_keys() -> None:
    for call in (
        lambda: linear_attention(A[:, :2], A, A, is_causal=True),
        lambda: linear_attention_weights(A[:, :2], A, is_causal=True),
    ):
        with pytest.raises(ShapeError, match="2 queries over 5 keys") as caught:
            call()
        assert "as many queries" in caught.value.remedy


# --- sums at the ends of the range


@FORMS
def test_a_sum_that_is_accepted_has_a_gradient(is_causal: bool) -> None:
    for exponent in (-60.0, -70.0, -75.0, -86.0):
        query = torch.full((3, 4), exponent).requires_grad_()
        key, value = (torch.randn(3, 4).requires_grad_() for _ in range(2))
        try:
            output = linear_attention(query, key, value, is_causal=is_causal)
        except NormaliserError:
            assert exponent < -68
            continue
        gradients = torch.autograd.grad((1000 * output).sum(), [query, key, value])
        assert all(gradient.isfinite().all() for gradient in gradients)


@FORMS
@pytest.mark.parametrize("name", ["identity", "relu", "elu"])
def test_an_infinite_sum_is_refused(name: Any, is_causal: bool) -> None:
    query, key = torch.full((2, 5, 4), 1e30), torch.full((2, 5, 4), 1e30)
    value = torch.randn(2, 5, 3)
    with pytest.raises(NormaliserError, match="sum to inf in torch.float32"):
        linear_attention(query, key, value, feature_map=name, is_causal=is_causal)


def test_a_mask_without_dimensions_is_refused(unchecked: None) -> None:
    tensors = [torch.randn(5, 4) for _ in range(3)]
    for attend in (linear_attention, softmax_attention):
        with pytest.raises(ShapeError, match=r"attention_mask has shape \(\)"):
            attend(*tensors, attention_mask=torch.tensor(True))


def test_what_is_no_feature_map_is_named(unchecked: None) -> None:
    tensors = [torch.randn(5, 4) for _ in range(3)]
    with pytest.raises(ShapeError, match="unknown feature map 3"):
        linear_attention(*tensors, feature_map=3)  # type: ignore[call-overload]
    with pytest.raises(ShapeError, match="0 random features of head_dim 5"):
        FAVOR(5, num_features=0)
