"""Log odds against their definition, also where probabilities are at their end."""

from __future__ import annotations

import pytest
import torch

from qkv.explanation.integrated_gradients import log_odds


def test_they_are_the_logarithm_of_the_odds() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for label in range(4):
        share = logits.softmax(dim=1)[:, label]
        torch.testing.assert_close(log_odds(logits, label), (share / (1 - share)).log())


def test_of_two_classes_they_are_the_difference_of_logits() -> None:
    assert log_odds(torch.tensor([[3.0, -1.0]]), 1).tolist() == [-4.0]


@pytest.mark.parametrize("label", [0, 2])
def test_certainty_does_not_flatten_them(label: int) -> None:
    logits = torch.zeros(1, 3)
    logits[0, label] = 200.0
    logits.requires_grad_()
    score = log_odds(logits, label)
    assert score.item() == pytest.approx(200 - torch.tensor(2.0).log().item())
    gradient = torch.autograd.grad(score.sum(), logits)[0]
    assert gradient[0, label] == 1
    assert gradient.sum().item() == pytest.approx(0, abs=1e-6)
