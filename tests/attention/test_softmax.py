"""Softmax attention against its plain twin, its own weights, and torch."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from qkv.attention import softmax_attention, softmax_attention_weights
from qkv.attention.reference import softmax_attention_reference
from qkv.errors import ShapeError


def draw(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def inputs(batch: tuple[int, ...], queries: int, keys: int, **kwargs: Any) -> list[Tensor]:
    shapes = [(*batch, queries, 5), (*batch, keys, 5), (*batch, keys, 3)]
    return [
        draw(*shape, seed=index, **kwargs).requires_grad_() for index, shape in enumerate(shapes)
    ]


def twin(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """The reference over every batch index."""
    mask = options.pop("attention_mask", None)
    batch = query.shape[:-2]
    if mask is not None:
        mask = mask.expand(*batch, query.shape[-2], key.shape[-2])
    output = [
        softmax_attention_reference(
            query[index],
            key[index],
            value[index],
            attention_mask=None if mask is None else mask[index],
            **options,
        )
        for index in itertools.product(*map(range, batch))
    ]
    return torch.stack(output).view(*batch, query.shape[-2], value.shape[-1])


def by_weights(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    return softmax_attention_weights(query, key, **options) @ value


def with_gradients(function: Any, tensors: list[Tensor], **options: Any) -> list[Tensor]:
    output = function(*tensors, **options)
    upstream = draw(*output.shape, seed=9)
    return [output, *torch.autograd.grad(output, tensors, upstream, materialize_grads=True)]


def assert_all_close(
    actual: list[Tensor], expected: list[Tensor], *, tolerance: float = 1e-5
) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def some_mask(batch: int, queries: int, keys: int) -> Tensor:
    """Random, with the first query of the first item shut out of everything."""
    mask = draw(batch, queries, keys, seed=5) > 0
    mask[:, :, 0] = True
    mask[0, 0] = False
    return mask


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale one": {"scale": 1.0},
    "masked": {"mask": True},
    "masked and causal": {"mask": True, "is_causal": True, "scale": 0.3},
}


# The twin goes number by number, so at the largest size it is asked for the hardest case alone.
@pytest.mark.parametrize(
    ("case", "length"),
    [*itertools.product(CASES, [1, 7]), ("plain", 63), ("masked and causal", 63)],
)
@pytest.mark.parametrize("function", [softmax_attention, by_weights], ids=["fused", "weights"])
def test_agrees_with_the_plain_twin(function: Any, case: str, length: int) -> None:
    options = dict(CASES[case])
    if options.pop("mask", False):
        options["attention_mask"] = some_mask(2, length, length)
    tensors = inputs((2,), length, length)
    assert_all_close(
        with_gradients(function, tensors, **options), with_gradients(twin, tensors, **options)
    )


@pytest.mark.parametrize("function", [softmax_attention, by_weights], ids=["fused", "weights"])
def test_agrees_with_torch_over_heads(function: Any) -> None:
    mask = draw(2, 1, 1, 11, seed=3) > -1
    tensors = inputs((2, 3), 7, 11)
    assert_all_close(
        with_gradients(function, tensors, attention_mask=mask),
        with_gradients(F.scaled_dot_product_attention, tensors, attn_mask=mask),
    )


def test_a_hand_computed_case() -> None:
    # Scores 0 and ln 3 give weights 1/4 and 3/4.
    query = torch.tensor([[1.0, 0.0]])
    key = torch.tensor([[0.0, 5.0], [1.0986122886681098 * 2**0.5, 7.0]])
    value = torch.tensor([[4.0, 0.0, 8.0], [0.0, 4.0, 8.0]])
    torch.testing.assert_close(softmax_attention_weights(query, key), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(
        softmax_attention(query, key, value), torch.tensor([[1.0, 3.0, 8.0]])
    )


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_a_query_without_keys_gets_zeros_and_finite_gradients(backend: SDPBackend) -> None:
    tensors = [draw(2, 4, 6, 8, seed=seed).requires_grad_() for seed in range(3)]
    mask = torch.ones(2, 1, 6, 6, dtype=torch.bool)
    mask[0] = False
    mask[1, :, 2] = False
    with sdpa_kernel(backend):
        output, *gradients = with_gradients(softmax_attention, tensors, attention_mask=mask)
    assert output[0].abs().max() == 0.0
    assert output[1, :, 2].abs().max() == 0.0
    assert output[1, :, 3].abs().min() > 0.0
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(gradient[0].abs().max() == 0.0 for gradient in gradients)
    weights, *gradients = with_gradients(
        softmax_attention_weights, tensors[:2], attention_mask=mask
    )
    assert weights[0].abs().max() == 0.0
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_scores_as_large_as_floats_go_stay_finite() -> None:
    tensors = [1e4 * draw(1, 5, 4, seed=seed).requires_grad_() for seed in range(3)]
    assert softmax_attention(*tensors).isfinite().all()
    assert softmax_attention_weights(*tensors[:2]).isfinite().all()


@pytest.mark.parametrize("function", [softmax_attention, by_weights], ids=["fused", "weights"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_gradients_in_double_precision(function: Any, is_causal: bool) -> None:
    tensors = inputs((2,), 4, 4, dtype=torch.float64)
    mask = some_mask(2, 4, 4)
    assert torch.autograd.gradcheck(
        lambda *xs: function(*xs, attention_mask=mask, is_causal=is_causal), tensors
    )


def test_weights_keep_double_precision() -> None:
    query, key, value = inputs((1,), 7, 7, dtype=torch.float64)
    torch.testing.assert_close(
        by_weights(query, key, value), twin(query, key, value), rtol=1e-13, atol=1e-13
    )


def test_half_precision_weights_are_normalised_in_single() -> None:
    query, key, _ = inputs((2,), 63, 63, dtype=torch.bfloat16)
    weights = softmax_attention_weights(query, key)
    assert weights.dtype == torch.bfloat16
    exact = softmax_attention_weights(query.double(), key.double())
    torch.testing.assert_close(weights.double(), exact, rtol=0.06, atol=1e-3)


@given(
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([None, 1.0, 0.2]),
    st.booleans(),
)
@settings(max_examples=25)
def test_properties_at_any_shape(
    batch: list[int], queries: int, keys: int, scale: float | None, masked: bool
) -> None:
    query, key, value = inputs(tuple(batch), queries, keys)
    mask = (draw(queries, keys, seed=4) > -0.5) if masked else None
    options: dict[str, Any] = {"attention_mask": mask, "scale": scale}
    weights = softmax_attention_weights(query, key, **options)
    output = softmax_attention(query, key, value, **options)
    torch.testing.assert_close(weights @ value, output, rtol=1e-5, atol=1e-5)
    reachable = torch.ones(queries) if mask is None else mask.any(-1).float()
    torch.testing.assert_close(weights.sum(-1), reachable.expand(*batch, queries))
    assert weights.min() >= 0
    # Which key comes first does not matter, if its value and its mask go with it.
    turn = torch.randperm(keys, generator=torch.Generator().manual_seed(1))
    turned = {**options, "attention_mask": None if mask is None else mask[:, turn]}
    again = softmax_attention(query, key[..., turn, :], value[..., turn, :], **turned)
    torch.testing.assert_close(again, output, rtol=1e-5, atol=1e-5)


# --- broadcasting

BROADCAST = [
    ((2, 3), (2, 1), (2, 1)),
    ((2, 3), (3,), ()),
    ((1, 3), (2, 1), (1, 1)),
    ((), (2,), (3, 1)),
    ((2, 1), (2, 1), (2, 3)),
    ((1,), (1,), (4,)),
]
MASKINGS = {
    "plain": (None, False),
    "causal": (None, True),
    "keys": ((7,), False),
    "keys and causal": ((7,), True),
    "padding": ((1, 7), False),
    "a row each": ((7, 7), False),
    "padding and causal": ((1, 7), True),
}


def spread(batch: tuple[int, ...], *tensors: Tensor) -> list[Tensor]:
    return [tensor.expand(*batch, *tensor.shape[-2:]).contiguous() for tensor in tensors]


@pytest.mark.parametrize("mask_has_batch", [False, True])
@pytest.mark.parametrize("masking", MASKINGS.values(), ids=MASKINGS)
@pytest.mark.parametrize(("query", "key", "value"), BROADCAST, ids=str)
def test_batch_dimensions_broadcast(
    query: tuple[int, ...],
    key: tuple[int, ...],
    value: tuple[int, ...],
    masking: tuple[tuple[int, ...] | None, bool],
    mask_has_batch: bool,
) -> None:
    shape, is_causal = masking
    tensors = [
        draw(*batch, 7, width, seed=width).requires_grad_()
        for batch, width in [(query, 5), (key, 5), (value, 3)]
    ]
    whole = torch.broadcast_shapes(query, key, value)
    weighing = torch.broadcast_shapes(query, key)
    for function, count, batch in [
        (softmax_attention, 3, whole),
        (softmax_attention_weights, 2, weighing),
    ]:
        options: dict[str, Any] = {"is_causal": is_causal}
        if shape is not None:
            own = batch if mask_has_batch and len(shape) > 1 else ()
            options["attention_mask"] = draw(*own, *shape, seed=8) > -0.3
        actual = with_gradients(function, tensors[:count], **options)
        expected = with_gradients(
            lambda *small, f=function, b=batch, o=options: f(*spread(b, *small), **o),
            tensors[:count],
        )
        assert actual[0].shape[:-2] == batch
        assert_all_close(actual, expected)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_a_mask_of_keys_alone_is_the_same_for_every_query(
    batch: tuple[int, ...], is_causal: bool
) -> None:
    tensors = inputs(batch, 7, 7)
    flat = torch.tensor([False, True, True, False, True, False, True])
    for function in (softmax_attention, by_weights):
        actual = with_gradients(function, tensors, attention_mask=flat, is_causal=is_causal)
        square = with_gradients(
            function, tensors, attention_mask=flat.expand(7, 7), is_causal=is_causal
        )
        assert_all_close(actual, square)
        hidden = function(*tensors, attention_mask=~flat & flat, is_causal=is_causal)
        assert hidden.abs().max() == 0.0


def test_one_head_of_keys_serves_many_heads_of_queries() -> None:
    query, key, value = draw(2, 4, 9, 5, seed=1), draw(2, 1, 9, 5, seed=2), draw(2, 1, 9, 3, seed=3)
    output = softmax_attention(query, key, value)
    heads = [softmax_attention(query[:, [head]], key, value) for head in range(4)]
    torch.testing.assert_close(output, torch.cat(heads, dim=1))
    mixed = softmax_attention_weights(query, key) @ value
    torch.testing.assert_close(output, mixed, rtol=1e-5, atol=1e-5)


def test_causal_outputs_do_not_see_the_future() -> None:
    query, key, value = (tensor.detach() for tensor in inputs((2,), 7, 7))
    before = softmax_attention(query, key, value, is_causal=True)
    key[:, 4:] += 1.0
    value[:, 4:] -= 1.0
    after = softmax_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().min() > 0


A, B = torch.zeros(2, 5, 4), torch.zeros(3, 5, 4)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "options", "problem", "remedy"),
    [
        ([A[0, 0], A, A], {}, r"query has shape \(4,\)", "at least"),
        ([A.long(), A.long(), A.long()], {}, "query has dtype torch.int64", "floating-point"),
        ([A, A.double(), A], {}, "key has dtype torch.float64", "one floating-point"),
        ([A, A[..., :3], A], {}, "query has 4 features a head and key 3", "same head_dim"),
        ([A, A, A[:, :3]], {}, "key has 5 tokens and value 3", "same number of tokens"),
        ([A, B, B], {}, r"key has batch shape \(3,\) beside \(2,\)", "equal, or 1 where they"),
        ([A, A, B], {}, r"value has batch shape \(3,\) beside \(2,\)", "equal, or 1 where they"),
        ([A[:, :2], A, A], {"is_causal": True}, "2 queries over 5 keys", "as many queries"),
        ([A, A, A], {"attention_mask": A[..., 0]}, "attention_mask has dtype", "booleans"),
        (
            [A, A, A],
            {"attention_mask": torch.ones(5, 4, dtype=torch.bool)},
            r"attention_mask has shape \(5, 4\)",
            "shape of the weights",
        ),
        (
            [A[:1], A[:1], A[:1]],
            {"attention_mask": torch.ones(2, 5, 5, dtype=torch.bool)},
            r"attention_mask has shape \(2, 5, 5\) for weights \(1, 5, 5\)",
            "shape of the weights",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    arguments: list[Tensor], options: dict[str, Any], problem: str, remedy: str
) -> None:
    with pytest.raises(ShapeError, match=problem) as caught:
        softmax_attention(*arguments, **options)
    assert remedy in caught.value.remedy
    if "value" not in problem:
        with pytest.raises(ShapeError, match=problem):
            softmax_attention_weights(*arguments[:2], **options)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (2, 1, 3), (2, 1, 2, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_any_number_of_batch_dimensions_takes_the_fused_path(
    batch: tuple[int, ...], masked: bool
) -> None:
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(*batch, 7, 4, generator=generator) for _ in range(3))
    mask = torch.ones(7, dtype=torch.bool).index_fill(0, torch.tensor([2]), False)
    options = {"attention_mask": mask} if masked else {}
    with torch.profiler.profile() as recorded:
        output = softmax_attention(query, key, value, **options)
    expected = softmax_attention_weights(query, key, **options) @ value
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    assert not any("attention_math" in event.key for event in recorded.key_averages())
