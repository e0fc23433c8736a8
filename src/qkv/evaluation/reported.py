"""What the exercise that qkv grew from reports of its own runs, to set beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ReportedRun:
    """A training run as reported.

    Attributes:
        title: what was trained on what.
        parameters: of the whole model.
        trainable_parameters: those that are trained; None where that is all of them.
        encoder: the frozen part by its name; None where there is none.
        train_seconds: time of the whole training.
        machine: where it ran, as far as is said.
        epochs: the results after each epoch, named as in run.json.
        test_loss: of the kept weights; None where it is that of the last epoch.
        test_accuracy: likewise, a share.
        remarks: sentences on what sets its figures apart from ours.
    """

    title: str
    parameters: int
    train_seconds: float
    machine: str
    epochs: tuple[Mapping[str, float], ...]
    trainable_parameters: int | None = None
    encoder: str | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    remarks: tuple[str, ...] = ()


FASHION_MNIST = ReportedRun(
    title="Vision Transformer on Fashion-MNIST",
    parameters=598_794,
    train_seconds=1051.84,
    machine="a CPU",
    epochs=(
        {"epoch": 1, "test_loss": 0.5273, "test_accuracy": 0.8013},
        {"epoch": 2, "test_loss": 0.4427, "test_accuracy": 0.8358},
        {"epoch": 3, "test_loss": 0.4175, "test_accuracy": 0.8441},
        {"epoch": 4, "test_loss": 0.4178, "test_accuracy": 0.8473},
        {"epoch": 5, "test_loss": 0.4049, "test_accuracy": 0.8497},
    ),
)

_IMDB_EPOCHS = (
    {
        "epoch": 1,
        "train_loss": 0.480,
        "train_accuracy": 0.7600,
        "validation_loss": 0.274,
        "validation_accuracy": 0.8924,
        "seconds": 12 * 60 + 48,
    },
    {
        "epoch": 2,
        "train_loss": 0.270,
        "train_accuracy": 0.8920,
        "validation_loss": 0.244,
        "validation_accuracy": 0.9051,
        "seconds": 12 * 60 + 52,
    },
)
IMDB = ReportedRun(
    title="bidirectional GRU on a frozen encoder, IMDB",
    parameters=112_241_409,
    trainable_parameters=2_759_169,
    encoder="bert-base-uncased",
    train_seconds=sum(epoch["seconds"] for epoch in _IMDB_EPOCHS),
    machine="a rented GPU",
    epochs=_IMDB_EPOCHS,
    test_loss=0.236,
    test_accuracy=0.9038,
    remarks=(
        "reported epochs run the encoder again; ours ran it once, before the first, and their "
        "seconds are the head's",
        "reported figures are means over batches, and padding reached the GRU; ours are means over "
        "texts, and padding reaches nothing",
    ),
)

REPORTED = {"fashion-mnist": FASHION_MNIST, "imdb": IMDB}
"""By the family of recipes whose `reference` repeats the run."""
