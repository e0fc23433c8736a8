"""The scan's own gradient, its memory layout, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from qkv.errors import ShapeError
from qkv.recurrence import recurrence_closed_form, recurrence_loop, recurrence_scan
from qkv.recurrence import scan as pairwise


@pytest.mark.parametrize("direct_numbers", [0, 4096])
@pytest.mark.parametrize("length", [1, 2, 5, 8])
@pytest.mark.parametrize("dim", [-2, -1])
@pytest.mark.parametrize("varies", [False, True])
def test_gradcheck(
    monkeypatch: pytest.MonkeyPatch, direct_numbers: int, length: int, dim: int, varies: bool
) -> None:
    monkeypatch.setattr(pairwise, "DIRECT_NUMBERS", direct_numbers)
    torch.manual_seed(0)
    shape = (2, length, 3) if dim == -2 else (2, length)
    decay_shape = list(shape)
    if not varies:
        decay_shape[dim] = 1
    arguments = [
        torch.randn(size, dtype=torch.float64, requires_grad=True)
        for size in (shape, decay_shape, shape[1:], (2, 3) if dim == -2 else (2,))
    ]
    with torch.no_grad():
        arguments[1][0, 0] = 0.0
    assert torch.autograd.gradcheck(
        lambda x, a, b, h: recurrence_scan(x, a, b, initial=h, dim=dim), arguments
    )


def test_gradients_of_a_long_scan_equal_the_loops() -> None:
    torch.manual_seed(0)
    arguments = [torch.randn(2, 5003, dtype=torch.float64) for _ in range(2)]
    arguments[1].tanh_()
    arguments.append(torch.randn(2, dtype=torch.float64))
    for argument in arguments:
        argument.requires_grad_()
    upstream = torch.randn(2, 5003, dtype=torch.float64)
    answers = []
    for form in (recurrence_scan, recurrence_loop):
        x, a, h = arguments
        states = form(x, a, initial=h)
        answers.append([states, *torch.autograd.grad(states, arguments, upstream)])
    torch.testing.assert_close(answers[0], answers[1])


def test_float32_stays_close_over_a_long_sequence() -> None:
    torch.manual_seed(0)
    inputs, decay = torch.randn(70_001), torch.rand(70_001) * 2 - 1
    exact = recurrence_scan(inputs.double(), decay.double())
    torch.testing.assert_close(recurrence_scan(inputs, decay).double(), exact, rtol=1e-5, atol=1e-5)


def test_zeros_in_the_decay_forget_the_past() -> None:
    inputs = torch.tensor([2.0, 3.0, 5.0, 7.0, 11.0])
    decay = torch.tensor([9.0, 0.0, 1.0, 0.0, -1.0])
    expected = torch.tensor([2.0, 3.0, 8.0, 7.0, 4.0])
    assert torch.equal(recurrence_scan(inputs, decay), expected)
    assert torch.equal(recurrence_closed_form(inputs, decay), expected)


def test_underflow_of_joined_decays_is_harmless() -> None:
    states = recurrence_scan(torch.ones(9001), 1e-30)
    assert torch.equal(states, torch.ones(9001))


def test_strided_inputs_and_an_expanded_gradient() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(3, 5001, 2, dtype=torch.float64).permute(2, 1, 0).requires_grad_()
    decay = torch.rand(5001, 2, 3, dtype=torch.float64).movedim(0, 1).requires_grad_()
    sums = [form(inputs, decay, dim=1) for form in (recurrence_scan, recurrence_loop)]
    assert sums[0].is_contiguous()
    answers = [torch.autograd.grad(states.sum(), (inputs, decay)) for states in sums]
    torch.testing.assert_close(answers[0], answers[1])


def test_a_number_for_decay_is_not_rounded_to_half() -> None:
    states = recurrence_scan(torch.tensor([1.0, 0.0, 0.0], dtype=torch.bfloat16), 0.1)
    assert states[2] == torch.tensor(0.01, dtype=torch.bfloat16)


X = torch.zeros(2, 5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("form", [recurrence_loop, recurrence_closed_form, recurrence_scan])
@pytest.mark.parametrize(
    ("arguments", "options", "problem", "remedy"),
    [
        ([X[:, :0], 1], {}, r"no steps along dim 1: their shape is \(2, 0\)", "at least one step"),
        (
            [X, X[:, :4]],
            {},
            r"do not broadcast: inputs \(2, 5\), decay \(2, 4\)",
            "equal or 1",
        ),
        ([X, 1, X[:, :3]], {}, r"gain \(2, 3\)", "equal or 1"),
        ([X, X.double()], {}, "decay has dtype torch.float64 and inputs torch.float32", "dtype of"),
        ([X, X, X.long()], {}, "gain has dtype torch.int64", "dtype of the inputs"),
        ([X.long(), 0.5], {}, "decay is 0.5 and inputs have dtype torch.int64", "an integer"),
        ([X.to(torch.int8), 128], {}, "decay is 128", "that torch.int8 holds"),
        ([X.bool(), 1], {}, "inputs have dtype torch.bool", "signed integer"),
        ([X, 1], {"dim": 2}, "dim is 2 and the inputs have 2 dimensions", "-1"),
        ([X, 1], {"dim": -3}, "dim is -3", "-1"),
        ([X[0, 0], 1], {}, "dim is -1 and the inputs have 0 dimensions", "axis"),
        ([X, 1], {"initial": X[:1, 0]}, r"initial has shape \(1,\) and a state \(2,\)", "without"),
        ([X, 1], {"initial": X[:, 0].double()}, "initial has dtype torch.float64", "dtype of"),
    ],
)
def test_what_does_not_fit_is_named(
    form: Any, arguments: list[Tensor], options: dict[str, Any], problem: str, remedy: str
) -> None:
    with pytest.raises(ShapeError, match=problem) as caught:
        form(*arguments, **options)
    assert remedy in caught.value.remedy


def test_depth_is_logarithmic(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    halving = pairwise.solve

    def counted(drive: Tensor, *rest: Any) -> None:
        lengths.append(len(drive))
        halving(drive, *rest)

    monkeypatch.setattr(pairwise, "DIRECT_NUMBERS", 0)
    monkeypatch.setattr(pairwise, "solve", counted)
    recurrence_scan(torch.ones(1000), 1)
    assert lengths == [1000 // 2**level for level in range(int(math.log2(1000)) + 1)]
