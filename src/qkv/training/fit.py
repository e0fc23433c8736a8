"""The one training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from qkv.errors import DivergenceError, InterruptedRunError
from qkv.runs import Run
from qkv.training.interrupt import stop_between_steps
from qkv.training.progress import Reporter, StepReport
from qkv.training.settings import TrainingSettings
from qkv.training.state import Position, Tally, restore_tensors, training_tensors
from qkv.training.step import Stepper
from qkv.training.task import SplitName


class Fit:
    """One training of a task into a run folder.

    The loop's whole state is a `Position` and named tensors, and every random draw is a function of
    the seed and the step, so a training that is stopped anywhere and resumed ends with the same
    weights as one that was not.

    Args:
        stepper: takes the steps.
        settings: how to fit.
        run: where position, weights and log are written.
        reporter: who is told.
    """

    def __init__(
        self, stepper: Stepper, settings: TrainingSettings, *, run: Run, reporter: Reporter
    ) -> None:
        self._stepper = stepper
        self._settings = settings
        self._run = run
        self._reporter = reporter
        self._position = Position()
        self._saved_at = time.monotonic()
        self._last_logged = (time.monotonic(), 0)

    @property
    def position(self) -> Position:
        """Where the training stands."""
        return self._position

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
        self._position = Position.from_facts(facts)
        self._run.truncate_log(self._position.step)
        # The record is written after the position, so a kill between the two leaves it behind.
        self._run.update_record(epochs=self._position.epochs, train_seconds=self._position.seconds)
        return True

    def train(self) -> Position:
        """Train to the end, an early stop, or an interruption.

        Raises:
            InterruptedRunError: the user stopped it; the position is saved.
            DivergenceError: the loss became infinite or NaN; the last good position stands.
        """
        with stop_between_steps() as stop:
            while self._position.epoch < self._settings.epochs and not self._should_stop_early():
                self._train_epoch(lambda: stop.asked)
                self._finish_epoch()
                if stop.asked and self._position.epoch < self._settings.epochs:
                    self._interrupted()
        return self._position

    def _train_epoch(self, stop_asked: Callable[[], bool]) -> None:
        position = self._position
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
            if stop_asked():
                self._interrupted()
            if now - self._saved_at >= self._settings.checkpoint_every_seconds:
                self._save_position()

    def _finish_epoch(self) -> None:
        position = self._position
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
        position.in_epoch = Tally()
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
        better = self._position.best is None or result > self._position.best
        if better:
            self._position.best = result
        return better

    def _should_stop_early(self) -> bool:
        patience = self._settings.early_stopping_epochs
        if patience is None or not self._position.epochs:
            return False
        results = [self._validation_result(entry) for entry in self._position.epochs]
        return len(results) - 1 - results.index(max(results)) >= patience

    def _validation_result(self, entry: dict[str, Any]) -> float:
        """The result that decides, larger is better."""
        if self._settings.keep == "best_accuracy":
            return float(entry["validation_accuracy"])
        return -float(entry["validation_loss"])

    def _report_step(self) -> None:
        position = self._position
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
                {
                    "event": "step",
                    "step": report.step,
                    "epoch": report.epoch,
                    "loss": report.loss,
                    "accuracy": report.accuracy,
                    "learning_rate": report.learning_rate,
                    "examples_per_second": report.examples_per_second,
                }
            )
            position.since_log = Tally()
            self._last_logged = (time.monotonic(), 0)
        self._reporter.step(report, logged=logged)

    def _require_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            position = self._position
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
        self._run.save_position(tensors, self._position.facts())
        self._saved_at = time.monotonic()

    def _interrupted(self) -> None:
        self._save_position()
        self._run.update_record(status="interrupted", train_seconds=self._position.seconds)
        raise InterruptedRunError(
            f"stopped at step {self._position.step} of {self._stepper.total_steps}",
            remedy=f"go on with qkv train --resume {self._run.path}",
        )
