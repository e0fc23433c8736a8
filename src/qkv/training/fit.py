"""The one training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from qkv.devices import resolve_precision
from qkv.errors import DivergenceError, InterruptedRunError
from qkv.runs import Run
from qkv.training.averaging import AveragedWeights
from qkv.training.interrupt import stop_between_steps
from qkv.training.optimizers import build_optimizer, learning_rate_at
from qkv.training.progress import Reporter, StepReport
from qkv.training.randomness import epoch_order, seed_step
from qkv.training.settings import TrainingSettings
from qkv.training.state import Position, Tally, restore_tensors, training_tensors
from qkv.training.task import Predictions, SplitName, Task


class Fit:
    """One training of a task into a run folder.

    The loop's whole state is a `Position` and named tensors, and every random draw is a function of
    the seed and the step, so a training that is stopped anywhere and resumed ends with the same
    weights as one that was not.

    Args:
        task: the model, its batches and its loss.
        settings: how to fit.
        seed: governs order, augmentation and dropout.
        run: where position, weights and log are written.
        reporter: who is told.
        device: where the task's model lies.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainingSettings,
        *,
        seed: int,
        run: Run,
        reporter: Reporter,
        device: torch.device,
    ) -> None:
        self._task = task
        self._settings = settings
        self._seed = seed
        self._run = run
        self._reporter = reporter
        self._device = device
        self._dtype = resolve_precision(settings.precision, device)
        self._model = task.model
        self._step_model: nn.Module = task.model
        if settings.compile:
            compiled: Any = torch.compile(task.model)
            self._step_model = compiled
        self._optimizer = build_optimizer(self._model, settings)
        self._average = (
            AveragedWeights(self._model, settings.ema_decay) if settings.ema_decay else None
        )
        self._position = Position()
        self._batches = len(task.epoch_batches(epoch_order(seed, 0, task.train_examples)))
        self._total_steps = self._batches * settings.epochs
        self._learning_rate = learning_rate_at(settings, self._total_steps)
        self._saved_at = time.monotonic()
        self._last_logged = (time.monotonic(), 0)

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self._total_steps

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
        restore_tensors(tensors, self._model, self._optimizer, self._average)
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
        order = epoch_order(self._seed, position.epoch, self._task.train_examples)
        batches = self._task.epoch_batches(order)
        self._model.train()
        clock = time.monotonic()
        self._last_logged = (clock, position.since_log.examples)
        while position.batch < len(batches):
            loss, correct, examples = self._step(batches[position.batch], position.step)
            position.step += 1
            position.batch += 1
            value = float(loss)
            self._require_finite(value, "the loss")
            position.in_epoch.add(value, int(correct), examples)
            position.since_log.add(value, int(correct), examples)
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

    def _step(self, indices: Any, step: int) -> tuple[Tensor, Tensor, int]:
        seed_step(self._seed, step)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            outcome = self._task.train_step(self._step_model, indices)
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        if self._settings.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.max_gradient_norm)
        self._optimizer.step()
        if self._average is not None:
            self._average.update(step)
        return outcome.loss.detach(), outcome.correct, outcome.examples

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
        with self._average.applied() if self._average is not None else nullcontext():
            for split in self._evaluated_splits():
                predictions = self._predict(split)
                self._require_finite(predictions.loss, f"the {split} loss")
                entry[f"{split}_loss"] = predictions.loss
                entry[f"{split}_accuracy"] = predictions.accuracy
            position.seconds += time.monotonic() - started
            if self._is_kept(entry):
                position.best_epoch = position.epoch + 1
                self._run.save_weights(self._model.state_dict(), **entry)
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
        if self._task.split_examples("validation"):
            splits.append("validation")
        if self._settings.test_each_epoch and self._task.split_examples("test"):
            splits.append("test")
        return splits

    def _predict(self, split: SplitName) -> Predictions:
        with self._autocast():
            return self._task.predict_split(self._model, split)

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
            total_steps=self._total_steps,
            epoch=position.epoch + 1,
            epochs=self._settings.epochs,
            loss=position.since_log.mean_loss,
            accuracy=position.since_log.accuracy,
            learning_rate=self._learning_rate(position.step - 1),
            images_per_second=speed,
            seconds_left=position.seconds / position.step * (self._total_steps - position.step),
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
                    "images_per_second": report.images_per_second,
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
        largest = torch.stack([p.detach().abs().max() for p in self._model.parameters()]).max()
        self._require_finite(float(largest), "a weight")

    def _save_position(self) -> None:
        self._require_finite_weights()
        tensors = training_tensors(self._model, self._optimizer, self._average)
        self._run.save_position(tensors, self._position.facts())
        self._saved_at = time.monotonic()

    def _interrupted(self) -> None:
        self._save_position()
        self._run.update_record(status="interrupted", train_seconds=self._position.seconds)
        raise InterruptedRunError(
            f"stopped at step {self._position.step} of {self._total_steps}",
            remedy=f"go on with qkv train --resume {self._run.path}",
        )

    def _autocast(self) -> AbstractContextManager[None]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)
