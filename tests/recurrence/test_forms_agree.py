"""Loop, closed form and scan give the same states; where it can be, exactly."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from torch import Tensor

from qkv.recurrence import recurrence_closed_form, recurrence_loop, recurrence_scan
from qkv.recurrence import scan as pairwise

FORMS = [recurrence_loop, recurrence_closed_form, recurrence_scan]
# Around powers of two, odd, prime, and long enough for the scan to halve (from 4097 numbers on).
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 31, 64, 97, 257]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    if dtype.is_floating_point:
        return (torch.rand(shape, generator=generator, dtype=torch.float64) * 2.4 - 1.2).to(dtype)
    return torch.randint(-(2**62), 2**62, shape, generator=generator).to(dtype)


@pytest.fixture(params=[0, pairwise.DIRECT_NUMBERS], ids=["pairs", "doubling"])
def scan_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways through the scan, at every length."""
    monkeypatch.setattr(pairwise, "DIRECT_NUMBERS", request.param)


@pytest.mark.usefixtures("scan_path")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [1, 2, 7, 12])
def test_against_fractions(form: Any, length: int) -> None:
    inputs, decay, gain = (draw(length, seed=seed) for seed in range(3))
    start = draw(seed=3)
    state, expected = Fraction(float(start)), []
    for x, a, b in zip(inputs.tolist(), decay.tolist(), gain.tolist(), strict=True):
        state = Fraction(a) * state + Fraction(b) * Fraction(x)
        expected.append(float(state))
    states = form(inputs, decay, gain, initial=start)
    torch.testing.assert_close(states, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.usefixtures("scan_path")
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("decay", [-1, 0.9, 0.0, 1])
def test_constant_decay_against_a_filter(length: int, decay: float) -> None:
    inputs = draw(3, length)
    expected = torch.from_numpy(lfilter([0.5], [1.0, -decay], inputs.numpy(), axis=-1))
    per_row = torch.full((3, 1), float(decay), dtype=torch.float64)
    for given_decay in (decay, per_row, per_row.expand(3, length)):
        torch.testing.assert_close(recurrence_scan(inputs, given_decay, 0.5), expected)


@pytest.mark.usefixtures("scan_path")
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8])
@pytest.mark.parametrize("length", LENGTHS)
def test_integers_are_exact_modulo_their_bits(dtype: torch.dtype, length: int) -> None:
    inputs, decay, gain = (draw(length, seed=seed, dtype=dtype) for seed in range(3))
    start = draw(seed=4, dtype=dtype)
    bits = torch.iinfo(dtype).bits

    def step(state: int, given: tuple[int, int, int]) -> int:
        x, a, b = given
        return (a * state + b * x + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)

    triples = zip(inputs.tolist(), decay.tolist(), gain.tolist(), strict=True)
    expected = list(accumulate(triples, step, initial=start.item()))[1:]
    for form in FORMS:
        states = form(inputs, decay, gain, initial=start)
        assert states.dtype == dtype
        assert states.tolist() == expected


def test_a_million_integer_steps_are_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(-9, 10, (2**20,), generator=generator)
    decay = torch.randint(-1, 2, (2**20,), generator=generator)
    for factors in (decay, torch.tensor([-1])):
        pairs = zip(inputs.tolist(), factors.expand(2**20).tolist(), strict=True)
        state, expected = 0, []
        for x, a in pairs:
            state = a * state + x
            expected.append(state)
        assert torch.equal(recurrence_scan(inputs, factors), torch.tensor(expected))


SHAPES: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]] = [
    # inputs, decay, gain, dim
    ((5,), (5,), (), -1),
    ((2, 7), (7,), (2, 1), -1),
    ((7,), (2, 7), (7,), -1),
    ((7, 3), (3,), (7, 1), -2),
    ((7, 3), (7, 1), (7, 3), 0),
    ((2, 5, 3), (2, 5, 3), (1,), -2),
    ((2, 5, 3), (2, 1, 3), (5, 1), 1),
    ((1,), (6,), (1,), 0),
    ((4, 1, 2), (1, 13, 1), (2,), 1),
    ((0, 5), (5,), (), -1),
]


@pytest.mark.usefixtures("scan_path")
@pytest.mark.parametrize(("inputs_shape", "decay_shape", "gain_shape", "dim"), SHAPES)
@pytest.mark.parametrize("starts", [False, True])
def test_forms_and_gradients_agree(
    inputs_shape: tuple[int, ...],
    decay_shape: tuple[int, ...],
    gain_shape: tuple[int, ...],
    dim: int,
    starts: bool,
) -> None:
    shape = list(torch.broadcast_shapes(inputs_shape, decay_shape, gain_shape))
    state_shape = shape[: dim % len(shape)] + shape[dim % len(shape) + 1 :]
    tensors = [draw(*inputs_shape), draw(*decay_shape, seed=1), draw(*gain_shape, seed=2)]
    if starts:
        tensors.append(draw(*state_shape, seed=3))
    for tensor in tensors:
        tensor.requires_grad_()
    upstream = draw(*shape, seed=4)
    answers = []
    for form in FORMS:
        states = form(*tensors[:3], initial=tensors[3] if starts else None, dim=dim)
        assert list(states.shape) == shape
        answers.append([states, *torch.autograd.grad(states, tensors, upstream)])
    for other in answers[1:]:
        torch.testing.assert_close(other, answers[0])


@st.composite
def cases(draw_: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    length = draw_(st.integers(1, 40))
    # Numbers that float64 adds and multiplies well, zeros among them.
    number = st.integers(-8, 8).map(lambda n: n / 8)
    rows = st.lists(number, min_size=length, max_size=length)
    x, a = (torch.tensor(draw_(rows), dtype=torch.float64) for _ in range(2))
    return x, a, torch.tensor(draw_(number), dtype=torch.float64)


@given(cases(), st.sampled_from([0, 8, 4096]))
@settings(max_examples=60)
def test_any_sequence(case: tuple[Tensor, Tensor, Tensor], direct_numbers: int) -> None:
    inputs, decay, start = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairwise, "DIRECT_NUMBERS", direct_numbers)
        scanned = recurrence_scan(inputs, decay, initial=start)
    looped = recurrence_loop(inputs, decay, initial=start)
    torch.testing.assert_close(scanned, looped)
    torch.testing.assert_close(
        recurrence_closed_form(inputs, decay, initial=start), looped, rtol=1e-9, atol=1e-9
    )


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30), st.integers(1, 29))
@settings(max_examples=40)
def test_a_split_sequence_goes_on(values: list[int], cut: int) -> None:
    inputs = torch.tensor(values).reshape(-1, 1) * torch.tensor([1, 3])
    decay = inputs.roll(1, 0) + 1
    cut = min(cut, len(values) - 1)
    for form in FORMS:
        whole = form(inputs, decay, dim=-2)
        parts, carried = [], None
        for piece in (slice(0, cut), slice(cut, None)):
            if len(inputs[piece]):
                parts.append(form(inputs[piece], decay[piece], initial=carried, dim=-2))
                carried = parts[-1][-1]
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS)
def test_half_precision_accumulates_in_float32(form: Any, dtype: torch.dtype) -> None:
    # In half precision the sum would stop growing where 1 is below half a unit of the state.
    states = form(torch.ones(3000, dtype=dtype), 1)
    assert states.dtype == dtype
    assert states[-1] == torch.tensor(3000.0).to(dtype)


@pytest.mark.parametrize("form", FORMS)
def test_the_arguments_are_left_alone(form: Any) -> None:
    tensors = [draw(5), draw(5, seed=1), draw(5, seed=2), draw(seed=3)]
    before = [tensor.clone() for tensor in tensors]
    form(*tensors[:3], initial=tensors[3])
    assert all(map(torch.equal, tensors, before))
