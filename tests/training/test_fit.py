"""The training loop: it learns, keeps the right weights, reports, and stops when it must."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qkv.data.dataset import IntArray
from qkv.errors import DivergenceError, InterruptedRunError
from qkv.progress import Reporter, StepReport
from qkv.runs import Run
from qkv.training.loop import Fit, Predictions, StepOutcome, Task, TrainStep, stop_between_steps
from qkv.training.training_settings import TrainingSettings

CPU = torch.device("cpu")


class Listener(Reporter):
    """Keeps what it is told, and may act on a step."""

    def __init__(self, at_step: Any = None) -> None:
        self.steps: list[tuple[StepReport, bool]] = []
        self.epochs: list[dict[str, Any]] = []
        self._at_step = at_step

    def step(self, report: StepReport, *, logged: bool) -> None:
        self.steps.append((report, logged))
        if self._at_step is not None:
            self._at_step(report.step)

    def epoch(self, entry: dict[str, Any]) -> None:
        self.epochs.append(dict(entry))


class Wrapped:
    """A task whose training steps or predictions a test changes."""

    def __init__(self, task: Task, *, step: Any = None, predict: Any = None) -> None:
        self._task = task
        self.model = task.model
        self.unit = task.unit
        self.train_examples = task.train_examples
        self._step = step
        self._predict = predict
        self.steps = 0

    def epoch_batches(self, order: IntArray) -> Sequence[IntArray]:
        return self._task.epoch_batches(order)

    def train_step(self, model: nn.Module, indices: IntArray) -> StepOutcome:
        outcome = self._task.train_step(model, indices)
        self.steps += 1
        return outcome if self._step is None else self._step(self.steps, outcome)

    def split_examples(self, split: Any) -> int:
        return self._task.split_examples(split)

    def predict_split(self, model: nn.Module, split: Any) -> Predictions:
        predictions = self._task.predict_split(model, split)
        return predictions if self._predict is None else self._predict(self.steps, predictions)


def poisoned(at: int, value: float) -> Any:
    """The loss becomes `value` at that step."""

    def step(number: int, outcome: StepOutcome) -> StepOutcome:
        loss = outcome.loss * value if number == at else outcome.loss
        return StepOutcome(loss, outcome.correct, outcome.examples)

    return step


# --- it learns


def test_it_learns(bench: Any) -> None:
    listener = Listener()
    model = {"dropout": 0.0, "dim": 16, "embedding_std": 0.5}
    fit = bench.fit("x", reporter=listener, epochs=12, task_options=model)
    position = fit.train()
    first, last = position.epochs[0], position.epochs[-1]
    assert last["train_loss"] < 0.1 * first["train_loss"]
    assert last["train_accuracy"] == 1.0
    assert last["validation_accuracy"] > 0.85
    assert fit._stepper.total_steps == position.step == 60


def test_an_epoch_entry_is_whole_and_true(bench: Any) -> None:
    fit = bench.fit("x", epochs=2, test_each_epoch=True, task_options={"dropout": 0.0})
    listener = fit._reporter = Listener()
    position = fit.train()
    assert bench.run("x").record()["epochs"] == position.epochs == listener.epochs
    assert [entry["epoch"] for entry in position.epochs] == [1, 2]
    entry = position.epochs[1]
    assert set(entry) == {
        "epoch", "step", "seconds", "train_loss", "train_accuracy",
        "validation_loss", "validation_accuracy", "test_loss", "test_accuracy",
    }  # fmt: skip
    for split in ("validation", "test"):
        predictions = fit._stepper.task.predict_split(fit._stepper.model, split)
        assert entry[f"{split}_loss"] == pytest.approx(predictions.loss)
        assert entry[f"{split}_accuracy"] == predictions.accuracy
    logged = [line for line in bench.run("x").log() if line["event"] == "epoch"]
    assert logged == [{"event": "epoch", **entry} for entry in position.epochs]


def test_the_test_split_is_left_alone_unless_asked(bench: Any) -> None:
    def refuse_test(_: int, predictions: Predictions) -> Predictions:
        assert np.array_equal(predictions.labels, bench.dataset.validation.labels)
        return predictions

    position = bench.fit("x", wrap=lambda task: Wrapped(task, predict=refuse_test)).train()
    assert not any("test_loss" in entry for entry in position.epochs)


def test_losses_are_means_over_examples_since_the_last_line(bench: Any) -> None:
    losses: list[tuple[float, int, int]] = []

    def note(_: int, outcome: StepOutcome) -> StepOutcome:
        losses.append((float(outcome.loss.detach()), int(outcome.correct), outcome.examples))
        return outcome

    bench.fit("x", epochs=2, log_every_steps=3, wrap=lambda t: Wrapped(t, step=note)).train()
    lines = [line for line in bench.run("x").log() if line["event"] == "step"]
    assert [line["step"] for line in lines] == [3, 6, 9]
    assert [line["epoch"] for line in lines] == [1, 2, 2]
    for line in lines:
        part = losses[line["step"] - 3 : line["step"]]
        examples = sum(count for _, _, count in part)
        assert line["loss"] == pytest.approx(sum(loss * n for loss, _, n in part) / examples)
        assert line["accuracy"] == pytest.approx(sum(right for _, right, _ in part) / examples)
        assert line["examples_per_second"] > 0
    epoch = bench.run("x").record()["epochs"][0]
    assert epoch["train_loss"] == pytest.approx(sum(loss * n for loss, _, n in losses[:5]) / 22)


def test_every_step_is_reported(bench: Any) -> None:
    listener = Listener()
    bench.fit("x", reporter=listener, epochs=2, schedule="linear", learning_rate=0.01).train()
    reports = [report for report, _ in listener.steps]
    assert [report.step for report in reports] == list(range(1, 11))
    assert [report.epoch for report in reports] == [1] * 5 + [2] * 5
    assert {(report.total_steps, report.epochs) for report in reports} == {(10, 2)}
    assert [report.learning_rate for report in reports] == pytest.approx(
        [0.01 * (1 - step / 10) for step in range(10)]
    )
    assert [logged for _, logged in listener.steps] == [False, True] * 5
    assert reports[-1].seconds_left == 0.0
    assert all(report.seconds_left > 0 for report in reports[:-1])


def test_every_epoch_trains_in_training_mode_and_judges_out_of_it(bench: Any) -> None:
    modes: list[bool] = []
    fit = bench.fit(
        "x", wrap=lambda t: Wrapped(t, step=lambda _, o: (modes.append(t.model.training), o)[1])
    )
    fit.train()
    assert modes == [True] * 15


# --- what the settings do


def test_one_step_is_plain_torch(bench: Any) -> None:
    """A run of one step, against the same written out with torch alone."""
    fit = bench.fit("x", epochs=1, batch_size=22, optimizer="adam", task_options={"dropout": 0.0})
    model = fit._stepper.model
    twin = bench.task(bench.settings(), dropout=0.0).model
    twin.load_state_dict(model.state_dict())
    fit.train()
    raw = torch.from_numpy(bench.dataset.train.take(np.arange(22))).float()
    logits = twin((raw / 255 - 0.5) / 0.5)
    labels = torch.from_numpy(bench.dataset.train.labels)
    nn.functional.cross_entropy(logits, labels).backward()
    torch.optim.Adam(twin.parameters(), lr=0.01).step()
    kept = bench.run("x").weights()
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(kept[name], value, rtol=1e-4, atol=2e-5)


def test_gradients_are_clipped(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    fit = bench.fit("x", epochs=1, max_gradient_norm=0.01)
    step = fit._stepper.optimizer.step

    def watched() -> None:
        gradients = [p.grad.flatten() for p in fit._stepper.model.parameters()]
        norms.append(float(torch.cat(gradients).norm()))
        step()

    monkeypatch.setattr(fit._stepper.optimizer, "step", watched)
    fit.train()
    assert norms == pytest.approx([0.01] * 5, rel=1e-3)


def test_the_schedule_and_the_average_go_by_the_step(bench: Any) -> None:
    fit = bench.fit("x", epochs=2, ema_decay=0.5, schedule="linear", warmup_steps=2)
    stepper = fit._stepper
    average = {name: p.detach().clone() for name, p in stepper.model.named_parameters()}
    rates: list[float] = []

    def at_step(step: int) -> None:
        rates.append(stepper.optimizer.param_groups[0]["lr"])
        d = min(0.5, step / (9 + step))
        for name, p in stepper.model.named_parameters():
            average[name] = d * average[name] + (1 - d) * p.detach()

    fit._reporter = Listener(at_step)
    fit.train()
    factors = [1 / 3, 2 / 3, *(1 - done / 8 for done in range(8))]
    assert rates == pytest.approx([0.01 * factor for factor in factors])
    for name, value in bench.run("x").weights().items():
        torch.testing.assert_close(value, average[name], rtol=1e-5, atol=1e-6)


def test_the_average_is_what_is_judged_and_kept(bench: Any) -> None:
    fit = bench.fit("x", epochs=2, ema_decay=0.99)
    seen: list[Tensor] = []
    task = fit._stepper.task
    fit._stepper.task = Wrapped(
        task,
        predict=lambda _, p: (seen.append(fit._stepper.model.head.weight.detach().clone()), p)[1],
    )
    fit.train()
    kept = bench.run("x").weights()["head.weight"]
    assert torch.equal(kept, fit._stepper.average.state()["head.weight"])
    assert torch.equal(kept, seen[-1])
    assert not torch.equal(kept, fit._stepper.model.head.weight)


def test_bfloat16_autocast_trains_and_keeps_float32_weights(bench: Any) -> None:
    position = bench.fit("x", epochs=6, precision="bfloat16").train()
    assert position.epochs[-1]["train_loss"] < 0.8 * position.epochs[0]["train_loss"]
    assert {tensor.dtype for tensor in bench.run("x").weights().values()} == {torch.float32}
    exact = bench.fit("y", epochs=6).train()
    assert exact.epochs[-1]["train_loss"] != position.epochs[-1]["train_loss"]


# --- what is kept, and when it stops


class Scripted:
    """One parameter, one step an epoch, and validation results as the test writes them."""

    unit = "examples"
    train_examples = 2

    def __init__(self, results: list[tuple[int, float]]) -> None:
        self.model: nn.Module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self._results = results  # an epoch: right answers of 10, and how sure the model is
        self._epoch = 0

    def epoch_batches(self, order: IntArray) -> Sequence[IntArray]:
        return [order]

    def train_step(self, model: nn.Module, indices: IntArray) -> StepOutcome:
        return StepOutcome(-model(torch.ones(1, 1)).sum(), torch.tensor(1), 2)

    def split_examples(self, split: Any) -> int:
        return 10 if split == "validation" else 0

    def predict_split(self, model: nn.Module, split: Any) -> Predictions:
        right, margin = self._results[self._epoch]
        self._epoch += 1
        logits = np.zeros((10, 2), np.float32)
        logits[:right, 0] = margin
        logits[right:, 1] = margin
        return Predictions(logits, np.zeros(10, np.int64))


def scripted(bench: Any, results: list[tuple[int, float]], **training: Any) -> tuple[Any, Run]:
    settings = bench.settings(epochs=len(results), optimizer="adam", learning_rate=1.0, **training)
    run = bench.run("scripted")
    stepper = TrainStep(Scripted(results), settings, seed=0, device=CPU)
    fit = Fit(stepper, settings, run=run, reporter=Reporter())
    return fit.train(), run


# Epoch 2 is right most often, epoch 3 has the smallest loss, epoch 4 is last.
RESULTS = [(5, 1.0), (8, 5.0), (7, 1.0), (6, 3.0)]


@pytest.mark.parametrize(("keep", "epoch"), [("last", 4), ("best_accuracy", 2), ("best_loss", 3)])
def test_the_asked_epoch_is_kept(bench: Any, keep: str, epoch: int) -> None:
    position, run = scripted(bench, RESULTS, keep=keep)
    assert position.best_epoch == epoch
    # Adam at learning rate 1 moves the only weight by 1 an epoch.
    assert run.weights()["weight"].item() == pytest.approx(epoch, rel=1e-4)
    header = json.loads(
        (run.path / "model.safetensors").read_bytes()[8:].split(b"}}")[0].decode() + "}}"
    )
    assert json.loads(header["__metadata__"]["facts"])["epoch"] == epoch


def test_the_first_of_equal_epochs_is_kept(bench: Any) -> None:
    position, _ = scripted(bench, [(5, 1.0), (8, 1.0), (8, 1.0)], keep="best_accuracy")
    assert position.best_epoch == 2


@pytest.mark.parametrize(
    ("patience", "keep", "epochs"),
    [
        (1, "best_accuracy", 3),
        (2, "best_accuracy", 4),
        (1, "best_loss", 2),
        (3, "best_loss", 6),
        (1, "last", 2),
        (None, "best_loss", 8),
    ],
)
def test_early_stopping(bench: Any, patience: int | None, keep: str, epochs: int) -> None:
    accuracies = [5, 8, 7, 7, 6, 5, 5, 5]
    sureness = [1.0, 5.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0]
    results = list(zip(accuracies, sureness, strict=True))
    position, _ = scripted(bench, results, keep=keep, early_stopping_epochs=patience)
    assert len(position.epochs) == epochs


# --- divergence


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run(bench: Any, value: float) -> None:
    whole = bench.fit("whole", epochs=1)
    whole.train()
    fit = bench.fit(
        "x", checkpoint_every_seconds=0.0, wrap=lambda t: Wrapped(t, step=poisoned(8, value))
    )
    with pytest.raises(DivergenceError) as caught:
        fit.train()
    assert caught.value.problem == f"the loss became {value} at step 8 (epoch 2)"
    assert "learning_rate" in caught.value.remedy
    assert str(bench.folder / "x") in caught.value.remedy
    run = bench.run("x")
    kept, expected = run.weights(), bench.run("whole").weights()
    assert all(torch.equal(kept[name], expected[name]) for name in expected)
    tensors, facts = run.position()
    assert facts["step"] == 7
    assert all(tensor.isfinite().all() for tensor in tensors.values())


@pytest.mark.parametrize("judged", [True, False])
@pytest.mark.parametrize("at", [3, 5, 10])
def test_weights_that_are_no_numbers_never_replace_good_ones(
    bench: Any, at: int, judged: bool
) -> None:
    """A loss can be finite and its gradient not; at 5 and 10 this ends an epoch."""

    def step(number: int, outcome: StepOutcome) -> StepOutcome:
        loss = outcome.loss
        if number == at:
            loss = loss + (loss * 0.0).sqrt()  # adds 0, with an infinite slope times 0
        return StepOutcome(loss, outcome.correct, outcome.examples)

    if not judged:
        bench.dataset = dataclasses.replace(bench.dataset, validation=None)
    fit = bench.fit("x", checkpoint_every_seconds=0.0, wrap=lambda t: Wrapped(t, step=step))
    with pytest.raises(DivergenceError, match=f"at step {at} "):
        fit.train()
    run = bench.run("x")
    tensors, facts = run.position()
    assert facts["step"] == at - 1
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    if at > 5:
        assert all(tensor.isfinite().all() for tensor in run.weights().values())
    else:
        assert not run.has_weights()
    assert "NaN" not in (run.path / "run.json").read_text()


def test_a_validation_loss_that_is_no_number_stops_the_run(bench: Any) -> None:
    def predict(steps: int, predictions: Predictions) -> Predictions:
        scale = np.float32("nan" if steps == 10 else 1.0)
        return Predictions(predictions.logits * scale, predictions.labels)

    fit = bench.fit("x", keep="best_loss", wrap=lambda task: Wrapped(task, predict=predict))
    with pytest.raises(DivergenceError, match="the validation loss became nan at step 10"):
        fit.train()
    assert len(bench.run("x").record()["epochs"]) == 1


# --- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_steps(bench: Any, number: signal.Signals) -> None:
    def at_step(step: int) -> None:
        if step == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(InterruptedRunError) as caught:
        bench.fit("x", reporter=Listener(at_step)).train()
    assert caught.value.problem == "stopped at step 4 of 15"
    assert caught.value.remedy == f"go on with qkv train --resume {bench.folder / 'x'}"
    assert caught.value.exit_code == 130
    assert signal.getsignal(number) is before
    run = bench.run("x")
    assert run.record()["status"] == "interrupted"
    assert run.position()[1]["step"] == 4


def test_a_second_interrupt_does_not_wait() -> None:
    with stop_between_steps() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_in_the_last_step_does_not_waste_the_run(bench: Any) -> None:
    def at_step(step: int) -> None:
        if step == 15:
            os.kill(os.getpid(), signal.SIGINT)

    position = bench.fit("x", reporter=Listener(at_step)).train()
    assert len(position.epochs) == 3


def test_training_works_outside_the_main_thread(bench: Any) -> None:
    fit = bench.fit("x", epochs=1)
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(fit.train()))
    thread.start()
    thread.join()
    assert done[0].step == 5


def test_settings_say_what_they_take() -> None:
    assert TrainingSettings().keep == "last"
