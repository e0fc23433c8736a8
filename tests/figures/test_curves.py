from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from made_up import some_epochs, some_steps
from readability import assert_readable

from qkv.figures.curves import draw_curves


@pytest.mark.parametrize(
    ("steps", "epochs"),
    [
        (some_steps(5, 12), some_epochs(5)),
        (some_steps(1, 3), some_epochs(1, validation_loss=None, validation_accuracy=None)),
        (some_steps(300, 2), some_epochs(300, test_loss=None, test_accuracy=None)),
        (some_steps(1, 40), []),
        ([], some_epochs(2)),
        ([], []),
    ],
    ids=["five", "one epoch", "hundreds", "stopped early", "no steps", "nothing"],
)
def test_curves_are_readable(steps: Any, epochs: Any) -> None:
    assert_readable(draw_curves(steps, epochs))


def test_curves_show_the_figures_they_are_given() -> None:
    epochs = some_epochs(3, test_loss=None, test_accuracy=None)
    loss, accuracy = draw_curves(some_steps(3, 20), epochs).axes
    lines = {line.get_label(): line for line in loss.lines}
    assert set(lines) == {
        *("train, each logged step", "train, smoothed"),
        *("train, mean of epoch", "validation, end of epoch"),
    }
    steps = lines["train, each logged step"]
    # 20 steps an epoch, found from the log alone.
    np.testing.assert_allclose(steps.get_xdata(), np.arange(1, 61) / 20)
    np.testing.assert_allclose(steps.get_ydata(), 3 / np.arange(1, 61))
    np.testing.assert_allclose(lines["validation, end of epoch"].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(lines["train, mean of epoch"].get_xdata(), [0.5, 1.5, 2.5])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [0.5, 0.75, 1 - 0.5 / 3])


def test_a_resumed_step_counts_once_and_a_loss_of_nan_not_at_all() -> None:
    steps = [
        {"step": 1, "epoch": 1, "loss": 3.0},
        {"step": 2, "epoch": 1, "loss": 9.0},
        {"step": 2, "epoch": 1, "loss": 2.0},
        {"step": 3, "epoch": 1, "loss": 1.0},
        {"step": 3, "epoch": 1, "loss": math.nan},
    ]
    loss, _ = draw_curves(steps, []).axes
    assert loss.lines[0].get_xydata().tolist() == [[1.0, 3.0], [2.0, 2.0]]
