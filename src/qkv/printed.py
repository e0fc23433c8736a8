"""What the source prints of its own runs, to set beside ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PrintedEpoch:
    """One epoch as printed.

    Attributes:
        epoch: counted from 1.
        test_loss: mean negative log likelihood on the test split.
        test_accuracy: share of the test split, 0 to 1.
    """

    epoch: int
    test_loss: float
    test_accuracy: float


@dataclass(frozen=True)
class PrintedRun:
    """A training run as printed.

    Attributes:
        title: what was trained on what.
        parameters: trainable parameters.
        train_seconds: time of the whole training.
        machine: where it ran, as far as the source says.
        epochs: the results after each epoch.
    """

    title: str
    parameters: int
    train_seconds: float
    machine: str
    epochs: tuple[PrintedEpoch, ...]


S4 = PrintedRun(
    title="Vision Transformer on Fashion-MNIST",
    parameters=598_794,
    train_seconds=1051.84,
    machine="a CPU",
    epochs=(
        PrintedEpoch(1, 0.5273, 0.8013),
        PrintedEpoch(2, 0.4427, 0.8358),
        PrintedEpoch(3, 0.4175, 0.8441),
        PrintedEpoch(4, 0.4178, 0.8473),
        PrintedEpoch(5, 0.4049, 0.8497),
    ),
)
