"""The position of a training: everything the loop needs to go on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from qkv.data.dataset import IntArray
from qkv.errors import RunError


class AveragedWeights:
    """θ̄ ← d·θ̄ + (1 − d)·θ after each step, with d growing to `decay` over the first steps.

    The ramp d = min(decay, (1 + t)/(10 + t)) keeps the random start from lingering in the average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._names = [name for name, p in model.named_parameters() if p.requires_grad]
        self._average = [p.detach().clone() for p in self._live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._average, self._live, 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context the model computes with the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, Tensor]:
        """The averages by parameter name."""
        return dict(zip(self._names, self._average, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Take over averages saved by `state`."""
        for name, average in zip(self._names, self._average, strict=True):
            average.copy_(state[name])

    def _swap(self) -> None:
        for live, index in zip(self._live, range(len(self._average)), strict=True):
            live.data, self._average[index] = self._average[index], live.data


@dataclass
class RunningMean:
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
class TrainingState:
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
    in_epoch: RunningMean = field(default_factory=RunningMean)
    since_log: RunningMean = field(default_factory=RunningMean)
    best: float | None = None
    best_epoch: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        tallies = {key: RunningMean(**facts[key]) for key in ("in_epoch", "since_log")}
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


# Every random draw of a run as a function of its seed and of where it happens.
#
# No generator's state has to be saved: a resumed run derives the same numbers from the same
# position.


_INITIAL_WEIGHTS, _EPOCH_ORDER, _STEP = range(3)


def seed_initial_weights(seed: int) -> None:
    """Seed torch before a model is built."""
    torch.manual_seed(_derived(seed, _INITIAL_WEIGHTS, 0))


def seed_step(seed: int, step: int) -> None:
    """Seed torch for the augmentation and dropout of one step, counted from 0."""
    torch.manual_seed(_derived(seed, _STEP, step))


def epoch_order(seed: int, epoch: int, examples: int) -> IntArray:
    """A permutation of the examples for one epoch, counted from 0."""
    generator = np.random.default_rng([seed, _EPOCH_ORDER, epoch])
    return generator.permutation(examples)


def _derived(seed: int, purpose: int, index: int) -> int:
    sequence = np.random.SeedSequence([seed, purpose, index])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
