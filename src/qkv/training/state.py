"""The position of a training: everything the loop needs to go on as if it had never stopped."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from qkv.errors import RunError
from qkv.training.averaging import AveragedWeights


@dataclass
class Tally:
    """Sums over examples, from which means are taken."""

    loss: float = 0.0
    correct: int = 0
    examples: int = 0

    def add(self, loss: float, correct: int, examples: int) -> None:
        """Take in a batch whose mean loss is `loss`."""
        self.loss += loss * examples
        self.correct += correct
        self.examples += examples

    @property
    def mean_loss(self) -> float:
        """Mean loss an example."""
        return self.loss / max(1, self.examples)

    @property
    def accuracy(self) -> float:
        """Share of correct examples."""
        return self.correct / max(1, self.examples)


@dataclass
class Position:
    """Where a training stands.

    Attributes:
        step: steps done in all.
        epoch: epochs completed.
        batch: batches done of the current epoch.
        seconds: training time so far, without interruptions.
        epoch_seconds: part of it that belongs to the current epoch.
        in_epoch: sums over the current epoch.
        since_log: sums since the last logged step.
        best: the best validation result so far, larger is better.
        best_epoch: the epoch it belongs to.
        epochs: one entry of run.json for each completed epoch.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    in_epoch: Tally = field(default_factory=Tally)
    since_log: Tally = field(default_factory=Tally)
    best: float | None = None
    best_epoch: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The inverse of `facts`."""
        tallies = {key: Tally(**facts[key]) for key in ("in_epoch", "since_log")}
        return cls(**{**facts, **tallies})


def training_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, average: AveragedWeights | None
) -> dict[str, Tensor]:
    """Every tensor that a resumed training needs, by a flat name."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items()}
    if average is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in average.state().items()}
    return tensors


def restore_tensors(
    tensors: dict[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedWeights | None,
) -> None:
    """Put tensors saved by `training_tensors` back.

    Raises:
        RunError: they belong to another model.
    """
    grouped: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "average": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        grouped[kind][rest] = tensor
    try:
        model.load_state_dict(grouped["model"])
        if average is not None:
            average.load(grouped["average"])
    except (RuntimeError, KeyError) as error:
        raise RunError(
            f"the saved position does not fit the model: {error}", remedy="start a new run"
        ) from None
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in grouped["optimizer"].items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
