"""What the exercise that qkv grew from reports of its own runs, to set beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ReportedEpoch:
    """One epoch as reported.

    Attributes:
        epoch: counted from 1.
        results: named as in an epoch of run.json: `test_loss` (mean negative log likelihood),
            `validation_accuracy` (a share, 0 to 1), `seconds` and so on.
    """

    epoch: int
    results: Mapping[str, float]

    @property
    def test_accuracy(self) -> float:
        """Share of the test split, 0 to 1."""
        return self.results["test_accuracy"]


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
        epochs: the results after each epoch.
        test_loss: of the kept weights; None where it is that of the last epoch.
        test_accuracy: likewise, a share.
        remarks: sentences on what sets its figures apart from ours.
    """

    title: str
    parameters: int
    train_seconds: float
    machine: str
    epochs: tuple[ReportedEpoch, ...]
    trainable_parameters: int | None = None
    encoder: str | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    remarks: tuple[str, ...] = ()


def _tested(epoch: int, loss: float, accuracy: float) -> ReportedEpoch:
    return ReportedEpoch(epoch, {"test_loss": loss, "test_accuracy": accuracy})


FASHION_MNIST = ReportedRun(
    title="Vision Transformer on Fashion-MNIST",
    parameters=598_794,
    train_seconds=1051.84,
    machine="a CPU",
    epochs=(
        _tested(1, 0.5273, 0.8013),
        _tested(2, 0.4427, 0.8358),
        _tested(3, 0.4175, 0.8441),
        _tested(4, 0.4178, 0.8473),
        _tested(5, 0.4049, 0.8497),
    ),
)

_IMDB_EPOCHS = (
    ReportedEpoch(
        1,
        {
            "train_loss": 0.480,
            "train_accuracy": 0.7600,
            "validation_loss": 0.274,
            "validation_accuracy": 0.8924,
            "seconds": 12 * 60 + 48,
        },
    ),
    ReportedEpoch(
        2,
        {
            "train_loss": 0.270,
            "train_accuracy": 0.8920,
            "validation_loss": 0.244,
            "validation_accuracy": 0.9051,
            "seconds": 12 * 60 + 52,
        },
    ),
)
IMDB = ReportedRun(
    title="bidirectional GRU on a frozen encoder, IMDB",
    parameters=112_241_409,
    trainable_parameters=2_759_169,
    encoder="bert-base-uncased",
    train_seconds=sum(epoch.results["seconds"] for epoch in _IMDB_EPOCHS),
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
