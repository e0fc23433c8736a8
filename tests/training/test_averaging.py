"""Averaged weights against a loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from qkv.training.checkpoint import AveragedWeights


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))


def wander(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.9999])
def test_the_average_against_a_loop(decay: float) -> None:
    model = network()
    average = AveragedWeights(model, decay)
    expected = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    for step in range(30):
        wander(model, step)
        average.update(step)
        d = min(decay, (1 + step) / (10 + step))
        for name, p in model.named_parameters():
            expected[name] = d * expected[name] + (1 - d) * p.detach().double()
    state = average.state()
    assert list(state) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(state[name].double(), value, rtol=1e-5, atol=1e-5)


def test_the_model_computes_with_the_average_only_within() -> None:
    model = network()
    average = AveragedWeights(model, 0.5)
    wander(model, 1)
    average.update(0)
    x = torch.ones(1, 3)
    live = {name: p.detach().clone() for name, p in model.named_parameters()}
    averaged = {name: p.clone() for name, p in average.state().items()}
    outside = model(x)
    with average.applied():
        assert all(torch.equal(p, averaged[name]) for name, p in model.named_parameters())
        assert not torch.equal(model(x), outside)
    assert all(torch.equal(p, live[name]) for name, p in model.named_parameters())
    assert all(torch.equal(p, averaged[name]) for name, p in average.state().items())
    assert torch.equal(model(x), outside)


def test_an_error_within_puts_the_weights_back() -> None:
    model = network()
    average = AveragedWeights(model, 0.5)
    wander(model, 1)
    before = model[0].weight.detach().clone()
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    assert torch.equal(model[0].weight, before)


def test_training_goes_on_after_the_average_was_applied() -> None:
    model = network()
    average = AveragedWeights(model, 0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()

    step()
    with average.applied():
        pass
    before = model[1].bias.detach().clone()
    step()
    torch.testing.assert_close(model[1].bias, before - 0.1, rtol=1e-4, atol=1e-4)


def test_a_saved_average_comes_back() -> None:
    model, other = network(), network()
    average, restored = AveragedWeights(model, 0.5), AveragedWeights(other, 0.5)
    wander(model, 1)
    average.update(0)
    restored.load(average.state())
    assert all(
        torch.equal(value, restored.state()[name]) for name, value in average.state().items()
    )
    wander(model, 2)
    average.update(1)  # the copy is a copy
    assert not torch.equal(average.state()["0.bias"], restored.state()["0.bias"])


def test_frozen_parameters_have_no_average() -> None:
    model = network()
    model[0].requires_grad_(False)
    assert list(AveragedWeights(model, 0.5).state()) == ["1.weight", "1.bias"]
