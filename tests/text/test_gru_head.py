"""The fast GRU against torch's own: outputs, gradients, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from head_cases import batch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from qkv.text import gru as gru_backward_module
from qkv.text import gru as gru_forward_module
from qkv.text import gru as packed_gru_module
from qkv.text.gru import Packing, last_gru_states, visit
from qkv.text.heads import GRUHead, GRUHeadSettings, build_head

LENGTHS = [[1], [1, 1, 1], [7], [5, 9, 1, 4, 9, 2, 1], [3] * 6, [33, 2, 17]]


@pytest.fixture(params=[4096, 5])
def _spans(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps in one span, and few steps in many."""
    for module in (gru_forward_module, gru_backward_module):
        monkeypatch.setattr(module, "SPAN_ROWS", request.param)


def gru(
    layers: int = 2, dim: int = 3, hidden: int = 5, dtype: torch.dtype = torch.float64
) -> nn.GRU:
    torch.manual_seed(layers)
    return nn.GRU(dim, hidden, layers, batch_first=True, bidirectional=True, dtype=dtype)


def ours(module: nn.GRU, states: Tensor, mask: Tensor) -> Tensor:
    packing = Packing.of(mask)
    return last_gru_states(module, packing.pack(states), packing)


def twin(module: nn.GRU, states: Tensor, mask: Tensor) -> Tensor:
    packed = pack_padded_sequence(states, mask.sum(dim=1), batch_first=True, enforce_sorted=False)
    _, last = module(packed)
    return torch.cat([last[-2], last[-1]], dim=1)


def both(
    module: nn.GRU, states: Tensor, mask: Tensor, upstream: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs and every gradient of the fast form and of its twin."""
    results = []
    for form in (ours, twin):
        output = form(module, states, mask)
        if upstream is None:
            upstream = torch.randn_like(output)
        inputs = [states, *module.parameters()]
        results.append([output, *torch.autograd.grad(output, inputs, upstream)])
    return zip(*results, strict=True)


@pytest.mark.usefixtures("_spans")
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_outputs_and_gradients_are_those_of_torch(lengths: list[int], layers: int) -> None:
    states, mask = batch(lengths, dim=3)
    for fast, plain in both(gru(layers), states.double().requires_grad_(), mask):
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("_spans")
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_gates_computed_anew_give_the_same_gradients(
    lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(*arguments: Any, keep_gates: bool) -> tuple[Tensor, None]:
        states, _ = visit(*arguments, keep_gates=False)
        return states, None

    monkeypatch.setattr(packed_gru_module, "visit", forgetful)
    states, mask = batch(lengths, dim=3)
    for fast, plain in both(gru(), states.double().requires_grad_(), mask):
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-12)


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=10),
    dim=st.integers(1, 5),
    hidden=st.integers(1, 6),
)
@settings(max_examples=30)
def test_any_shape_in_float32(lengths: list[int], dim: int, hidden: int) -> None:
    states, mask = batch(lengths, dim=dim)
    module = gru(2, dim, hidden, torch.float32)
    for fast, plain in both(module, states.requires_grad_(), mask):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_spans")
def test_under_autocast_it_stays_near_float32() -> None:
    module = gru(2, 24, 32, torch.float32)
    states, mask = batch([30, 11, 1, 17, 30], dim=24)
    states.requires_grad_()
    inputs = [states, *module.parameters()]
    expected = twin(module, states, mask)
    upstream = torch.randn_like(expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = ours(module, states, mask)
        # The gradient too may be asked for inside.
        gradients = torch.autograd.grad(output, inputs, upstream)
    assert output.dtype == torch.float32
    assert (output - expected).norm() <= 0.02 * expected.norm()
    assert not torch.equal(output, expected)
    for got, wanted in zip(gradients, torch.autograd.grad(expected, inputs, upstream), strict=True):
        assert got.dtype == torch.float32
        assert (got - wanted).norm() <= 0.03 * wanted.norm()


def test_autocast_around_the_gradient_alone_changes_nothing() -> None:
    module = gru(2, 24, 32, torch.float32)
    states, mask = batch([30, 11, 1], dim=24)
    output = ours(module, states, mask).sum()
    expected = torch.autograd.grad(output, list(module.parameters()), retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gradients = torch.autograd.grad(output, list(module.parameters()))
    assert all(map(torch.equal, gradients, expected))


def test_autocast_leaves_float64_alone() -> None:
    module, (states, mask) = gru(), batch([4, 2], dim=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = ours(module, states.double(), mask)
    torch.testing.assert_close(output, twin(module, states.double(), mask))


class Fast(nn.Module):
    """The fast form as a module, so that its weights can be given from outside."""

    def __init__(self, module: nn.GRU) -> None:
        super().__init__()
        self.gru = module

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return ours(self.gru, states, mask)


@pytest.mark.parametrize("layers", [1, 2])
def test_gradcheck(layers: int) -> None:
    module = Fast(gru(layers, 2, 2))
    states, mask = batch([3, 1, 2], dim=2)
    names, values = zip(*module.named_parameters(), strict=True)

    def form(states: Tensor, *values: Tensor) -> Tensor:
        weights = dict(zip(names, values, strict=True))
        output: Tensor = torch.func.functional_call(module, weights, (states, mask))
        return output

    inputs = [states.double(), *values]
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(form, inputs)


def test_a_gradient_may_be_taken_twice_of_one_graph() -> None:
    module, (states, mask) = gru(), batch([3, 5], dim=3)
    output = ours(module, states.double(), mask)
    first, second = (
        torch.autograd.grad(output.sum(), list(module.parameters()), retain_graph=True)
        for _ in range(2)
    )
    assert all(map(torch.equal, first, second))


def test_gradients_too_small_to_matter_do_not_become_subnormal() -> None:
    module, (states, mask) = gru(1, 3, 4, torch.float32), batch([400], dim=3)
    wide = states.requires_grad_()
    (gradient,) = torch.autograd.grad(ours(module, wide, mask).sum(), wide)
    smallest = gradient[gradient != 0].abs().min()
    assert smallest > torch.finfo(torch.float32).tiny
    for fast, plain in both(module, wide, mask):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_answer_is_the_same(mode: type) -> None:
    module, (states, mask) = gru(), batch([5, 1, 8], dim=3)
    expected = ours(module, states.double(), mask)
    with mode():
        assert torch.equal(ours(module, states.double(), mask), expected)


def test_a_frozen_gru_passes_the_gradient_on() -> None:
    module = gru().requires_grad_(False)
    states, mask = batch([4, 6], dim=3)
    wide = states.double().requires_grad_()
    got, wanted = (
        torch.autograd.grad(form(module, wide, mask).square().sum(), wide)[0]
        for form in (ours, twin)
    )
    torch.testing.assert_close(got, wanted)


def test_dropout_lies_between_layers_and_in_training_alone() -> None:
    for layers, differs in ((1, False), (2, True)):
        module, (states, mask) = gru(layers), batch([5, 3], dim=3)
        module.dropout = 0.5
        expected = ours(module.eval(), states.double(), mask)
        torch.testing.assert_close(expected, twin(module, states.double(), mask))
        trained = ours(module.train(), states.double(), mask)
        assert torch.allclose(trained, expected) is not differs


def test_packing_has_the_order_of_torch() -> None:
    states, mask = batch([4, 1, 6, 4], dim=3)
    packing = Packing.of(mask)
    expected: PackedSequence = pack_padded_sequence(
        states, mask.sum(dim=1), batch_first=True, enforce_sorted=False
    )
    assert torch.equal(packing.pack(states), expected.data)
    assert list(packing.active) == expected.batch_sizes.tolist()
    assert torch.equal(packing.reverse[packing.reverse], torch.arange(15))
    last = packing.pack(states)[packing.last_rows][packing.ranks]
    assert torch.equal(last, states[torch.arange(4), mask.sum(dim=1) - 1])


@pytest.mark.parametrize(("rows", "steps"), [(1, [1] * 6), (7, [2, 3, 1]), (15, [6])])
def test_spans_hold_every_step_once(rows: int, steps: list[int]) -> None:
    spans = Packing.of(batch([4, 1, 6, 4])[1]).spans(rows)
    assert [len(span.steps) for span in spans] == steps
    assert [span.rows.start for span in spans[1:]] == [span.rows.stop for span in spans[:-1]]
    assert (spans[0].rows.start, spans[-1].rows.stop) == (0, 15)


def test_the_head_has_the_weights_of_torch_and_its_path_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build_head(GRUHeadSettings(hidden_size=6), 5, 2).eval()
    assert isinstance(model, GRUHead)
    plain = nn.GRU(5, 6, 2, batch_first=True, bidirectional=True)
    shapes = {name: value.shape for name, value in plain.state_dict().items()}
    assert {name: value.shape for name, value in model.gru.state_dict().items()} == shapes
    plain.load_state_dict(model.gru.state_dict())
    states, mask = batch([4, 7, 1], dim=5)
    expected = twin(plain, states, mask)
    torch.testing.assert_close(model.pool(states, mask)[0], expected)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(model.pool(states, mask)[0], expected)
