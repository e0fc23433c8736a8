"""The one training loop."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from qkv.data.dataset import IntArray
from qkv.devices import autocast, resolve_precision
from qkv.errors import DivergenceError, InterruptedRunError
from qkv.evaluation.metrics import log_softmax
from qkv.progress import Reporter, StepReport
from qkv.runs import Run
from qkv.training.checkpoint import (
    AveragedWeights,
    RunningMean,
    TrainingState,
    epoch_order,
    restore_tensors,
    seed_step,
    training_tensors,
)
from qkv.training.optim import build_optimizer, learning_rate_at
from qkv.training.training_settings import TrainingSettings


@contextmanager
def stop_between_steps() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into a request; a second SIGINT interrupts at once.

    Outside the main thread signals cannot be caught, and the request is never made.
    """
    request = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        if request.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


SplitName = Literal["validation", "test"]


@dataclass(frozen=True)
class StepOutcome:
    """What one training batch gave.

    Attributes:
        loss: scalar to differentiate, the mean over the batch.
        correct: scalar count of examples classified correctly.
        examples: examples in the batch.
    """

    loss: Tensor
    correct: Tensor
    examples: int


@dataclass(frozen=True)
class Predictions:
    """Logits of a whole split beside its labels.

    Attributes:
        logits: float32 (examples, classes).
        labels: int64 (examples,).
    """

    logits: npt.NDArray[np.float32]
    labels: IntArray

    @property
    def loss(self) -> float:
        """Mean negative log likelihood in nats, averaged over examples."""
        log_shares = log_softmax(self.logits)
        return float(-log_shares[np.arange(len(log_shares)), self.labels].mean())

    @property
    def accuracy(self) -> float:
        """Share of examples whose largest logit is at their label."""
        return float((self.logits.argmax(axis=1) == self.labels).mean())


class Task(Protocol):
    """A model, the examples it learns from, and how wrong it is on a batch of them."""

    @property
    def model(self) -> nn.Module:
        """The model that is fitted."""

    @property
    def unit(self) -> str:
        """What an example is, in the plural: images, texts."""

    @property
    def train_examples(self) -> int:
        """Examples in the training split."""

    def epoch_batches(self, order: IntArray) -> Sequence[IntArray]:
        """The examples of an epoch, shuffled as `order`, cut into batches."""

    def train_step(self, model: nn.Module, indices: IntArray) -> StepOutcome:
        """Loss of `model` (the task's own, perhaps compiled) on the examples at `indices`."""

    def split_examples(self, split: SplitName) -> int:
        """How many examples a split has; 0 if there is no such split."""

    def predict_split(self, model: nn.Module, split: SplitName) -> Predictions:
        """Logits of `model`, in evaluation mode, for every example of a split."""


class TrainStep:
    """Takes the steps of a training.

    What a step does depends on the state of weights and optimiser, the seed and the step's number,
    and on nothing else.

    Args:
        task: the model, its batches and its loss.
        settings: how to fit.
        seed: governs order, augmentation and dropout.
        device: where the model lies.
        model: what to train instead of the task's own model, such as a copy of it.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainingSettings,
        *,
        seed: int,
        device: torch.device,
        model: nn.Module | None = None,
    ) -> None:
        self.task = task
        self.model = task.model if model is None else model
        self.optimizer = build_optimizer(self.model, settings)
        self.average = (
            AveragedWeights(self.model, settings.ema_decay) if settings.ema_decay else None
        )
        self.precision = resolve_precision(settings.precision, device)
        self._seed = seed
        self._device = device
        self._max_gradient_norm = settings.max_gradient_norm
        self._called_model = self.model
        if settings.compile:
            compiled: Any = torch.compile(self.model)
            self._called_model = compiled
        # Batches by token budget need not be as many in every epoch.
        self.total_steps = sum(len(self.epoch_batches(epoch)) for epoch in range(settings.epochs))
        self.learning_rate = learning_rate_at(settings, self.total_steps)

    def epoch_batches(self, epoch: int) -> Sequence[IntArray]:
        """Index batches of an epoch, counted from 0, in the order of the seed."""
        order = epoch_order(self._seed, epoch, self.task.train_examples)
        return self.task.epoch_batches(order)

    def step(self, indices: IntArray, number: int) -> StepOutcome:
        """Update the weights by the examples at `indices`, as step `number`, counted from 0."""
        self.model.train()
        seed_step(self._seed, number)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(number) * group.get("learning_rate_factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self._device, self.precision):
            outcome = self.task.train_step(self._called_model, indices)
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        if self._max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._max_gradient_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(number)
        return StepOutcome(outcome.loss.detach(), outcome.correct, outcome.examples)

    def predict(self, split: SplitName) -> Predictions:
        """Logits for a split by the weights as they are; see `kept_weights`."""
        with autocast(self._device, self.precision):
            return self.task.predict_split(self.model, split)

    def kept_weights(self) -> AbstractContextManager[None]:
        """Within this context the model holds the weights that a run keeps: the average, if any."""
        return nullcontext() if self.average is None else self.average.applied()


# Fields of a `StepReport` in a line of log.jsonl.
LOGGED = ("step", "epoch", "loss", "accuracy", "learning_rate", "examples_per_second")


class Fit:
    """One training of a task into a run folder.

    The loop's whole state is a `TrainingState` and named tensors, and every random draw is a
    function of the seed and the step, so a training that is stopped anywhere and resumed ends with
    the same weights as one that was not.

    Args:
        stepper: takes the steps.
        settings: how to fit.
        run: where position, weights and log are written.
        reporter: who is told.
    """

    def __init__(
        self, stepper: TrainStep, settings: TrainingSettings, *, run: Run, reporter: Reporter
    ) -> None:
        self._stepper = stepper
        self._settings = settings
        self._run = run
        self._reporter = reporter
        self.position = TrainingState()
        self._saved_at = time.monotonic()
        self._last_logged = (time.monotonic(), 0)

    def resume(self) -> bool:
        """Go back to the saved position, if there is one.

        Returns:
            Whether there was one; without it the training starts at the beginning.

        Raises:
            RunError: the position is damaged or belongs to another model.
        """
        saved = self._run.position()
        if saved is None:
            self._run.truncate_log(0)
            return False
        tensors, facts = saved
        restore_tensors(
            tensors, self._stepper.model, self._stepper.optimizer, self._stepper.average
        )
        self.position = TrainingState.from_facts(facts)
        self._run.truncate_log(self.position.step)
        # The record is written after the position, so a kill between the two leaves it behind.
        self._run.update_record(epochs=self.position.epochs, train_seconds=self.position.seconds)
        return True

    def train(self) -> TrainingState:
        """Train to the end, an early stop, or an interruption.

        Raises:
            InterruptedRunError: the user stopped it; the position is saved.
            DivergenceError: the loss became infinite or NaN; the last good position stands.
        """
        with stop_between_steps() as stop:
            while self.position.epoch < self._settings.epochs and not self._should_stop_early():
                self._train_epoch(stop)
                self._finish_epoch()
                if stop.is_set() and self.position.epoch < self._settings.epochs:
                    self._interrupted()
        return self.position

    def _train_epoch(self, stop: threading.Event) -> None:
        position = self.position
        batches = self._stepper.epoch_batches(position.epoch)
        clock = time.monotonic()
        self._last_logged = (clock, position.since_log.examples)
        while position.batch < len(batches):
            outcome = self._stepper.step(batches[position.batch], position.step)
            position.step += 1
            position.batch += 1
            loss, correct = float(outcome.loss), int(outcome.correct)
            self._require_finite(loss, "the loss")
            position.in_epoch.add(loss, correct, outcome.examples)
            position.since_log.add(loss, correct, outcome.examples)
            now = time.monotonic()
            position.seconds += now - clock
            position.epoch_seconds += now - clock
            clock = now
            self._report_step()
            if position.batch == len(batches):
                break  # the end of the epoch saves the position, with its results
            if stop.is_set():
                self._interrupted()
            if now - self._saved_at >= self._settings.checkpoint_every_seconds:
                self._save_position()

    def _finish_epoch(self) -> None:
        position = self.position
        entry: dict[str, Any] = {
            "epoch": position.epoch + 1,
            "step": position.step,
            "train_loss": position.in_epoch.mean_loss,
            "train_accuracy": position.in_epoch.accuracy,
            "seconds": position.epoch_seconds,
        }
        self._require_finite_weights()
        started = time.monotonic()
        with self._stepper.kept_weights():
            for split in self._evaluated_splits():
                predictions = self._stepper.predict(split)
                self._require_finite(predictions.loss, f"the {split} loss")
                entry[f"{split}_loss"] = predictions.loss
                entry[f"{split}_accuracy"] = predictions.accuracy
            position.seconds += time.monotonic() - started
            if self._is_kept(entry):
                position.best_epoch = position.epoch + 1
                self._run.save_weights(self._stepper.model.state_dict(), **entry)
        position.epochs.append(entry)
        position.epoch += 1
        position.batch = 0
        position.epoch_seconds = 0.0
        position.in_epoch = RunningMean()
        self._run.append_log({"event": "epoch", **entry})
        self._save_position()
        self._run.update_record(epochs=position.epochs, train_seconds=position.seconds)
        self._reporter.epoch(entry)

    def _evaluated_splits(self) -> list[SplitName]:
        splits: list[SplitName] = []
        if self._stepper.task.split_examples("validation"):
            splits.append("validation")
        if self._settings.test_each_epoch and self._stepper.task.split_examples("test"):
            splits.append("test")
        return splits

    def _is_kept(self, entry: dict[str, Any]) -> bool:
        """Whether this epoch's weights replace the kept ones; remembers the best result."""
        if self._settings.keep == "last":
            return True
        result = self._validation_result(entry)
        better = self.position.best is None or result > self.position.best
        if better:
            self.position.best = result
        return better

    def _should_stop_early(self) -> bool:
        patience = self._settings.early_stopping_epochs
        if patience is None or not self.position.epochs:
            return False
        results = [self._validation_result(entry) for entry in self.position.epochs]
        return len(results) - 1 - results.index(max(results)) >= patience

    def _validation_result(self, entry: dict[str, Any]) -> float:
        """The result that decides, larger is better."""
        if self._settings.keep == "best_accuracy":
            return float(entry["validation_accuracy"])
        return -float(entry["validation_loss"])

    def _report_step(self) -> None:
        position = self.position
        logged = position.step % self._settings.log_every_steps == 0
        since, before = self._last_logged
        elapsed = max(time.monotonic() - since, 1e-9)
        speed = (position.since_log.examples - before) / elapsed
        report = StepReport(
            step=position.step,
            total_steps=self._stepper.total_steps,
            epoch=position.epoch + 1,
            epochs=self._settings.epochs,
            loss=position.since_log.mean_loss,
            accuracy=position.since_log.accuracy,
            learning_rate=self._stepper.learning_rate(position.step - 1),
            unit=self._stepper.task.unit,
            examples_per_second=speed,
            seconds_left=position.seconds
            / position.step
            * (self._stepper.total_steps - position.step),
        )
        if logged:
            self._run.append_log(
                {"event": "step", **{name: getattr(report, name) for name in LOGGED}}
            )
            position.since_log = RunningMean()
            self._last_logged = (time.monotonic(), 0)
        self._reporter.step(report, logged=logged)

    def _require_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            position = self.position
            raise DivergenceError(
                f"{what} became {value} at step {position.step} (epoch {position.epoch + 1})",
                remedy="lower training.learning_rate or set training.max_gradient_norm; the "
                f"last good state is in {self._run.path}",
            )

    def _require_finite_weights(self) -> None:
        """A finite loss can have an infinite gradient: look before a good state is replaced."""
        largest = torch.stack(
            [p.detach().abs().max() for p in self._stepper.model.parameters()]
        ).max()
        self._require_finite(float(largest), "a weight")

    def _save_position(self) -> None:
        self._require_finite_weights()
        tensors = training_tensors(
            self._stepper.model, self._stepper.optimizer, self._stepper.average
        )
        self._run.save_position(tensors, asdict(self.position))
        self._saved_at = time.monotonic()

    def _interrupted(self) -> None:
        self._save_position()
        self._run.update_record(status="interrupted", train_seconds=self.position.seconds)
        raise InterruptedRunError(
            f"stopped at step {self.position.step} of {self._stepper.total_steps}",
            remedy=f"go on with qkv train --resume {self._run.path}",
        )
