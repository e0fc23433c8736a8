"""From a recipe to a run, or on with one that was stopped."""

from __future__ import annotations

import copy
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qkv import __version__
from qkv.devices import machine_facts, resolve_device
from qkv.errors import DivergenceError, RunError
from qkv.evaluation.model_card import model_card
from qkv.figures.run import draw_run_figures
from qkv.files import require_space, unused_path
from qkv.loading import load
from qkv.progress import Estimate, Reporter, with_tensorboard
from qkv.runs import Run
from qkv.training.checkpoint import training_tensors
from qkv.training.data import Dataset, describe, fingerprint, load_dataset
from qkv.training.loop import Fit, Task, TrainStep
from qkv.training.recipe import TASKS, parse_recipe
from qkv.training.training_settings import Recipe, TrainingSettings
from qkv.vision.vit import parameter_count

# The first steps are slow: memory is touched for the first time and kernels are chosen.
WARM_STEPS, TIMED_STEPS = 10, 5
# Figures, predictions, log, record and card of a run.
FIXED_DISK_BYTES = 2 * 2**20


def estimate(task: Task, settings: TrainingSettings, device: torch.device) -> Estimate:
    """Time a few steps of a copy of the task's model; the training itself is not advanced.

    Evaluation is counted as the forward part, a third, of a training step for as many examples.
    """
    model = copy.deepcopy(task.model)
    stepper = TrainStep(task, settings, seed=0, device=device, model=model)
    batches = stepper.epoch_batches(0)
    seconds_an_example = []
    for number in range(WARM_STEPS + TIMED_STEPS):
        indices = batches[number % len(batches)]
        started = time.monotonic()
        float(stepper.step(indices, number).loss)  # a number: an accelerator has finished
        seconds_an_example.append((time.monotonic() - started) / len(indices))
    pace = statistics.median(seconds_an_example[WARM_STEPS:])
    evaluated = task.split_examples("validation")
    if settings.test_each_epoch:
        evaluated += task.split_examples("test")
    position = training_tensors(model, stepper.optimizer, stepper.average)
    position_bytes = sum(tensor.nbytes for tensor in position.values())
    weights_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    return Estimate(
        train_seconds=settings.epochs * pace * (task.train_examples + evaluated / 3),
        memory_bytes=_peak_memory_bytes(device),
        # A file is replaced by a complete new one, so for a moment there are two.
        disk_bytes=2 * (position_bytes + weights_bytes) + FIXED_DISK_BYTES,
        total_steps=stepper.total_steps,
    )


def _peak_memory_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


_DISK_MARGIN = 1.2


def finish(run: Run, recipe: Recipe, dataset: Dataset, kept_epoch: int, reporter: Reporter) -> None:
    """Make a trained run a finished one."""
    run.update_record(kept_epoch=kept_epoch)
    classifier = load(run, device=recipe.training.device)
    if recipe.task != classifier.task:
        raise RunError(f"{run.path}: config and recipe disagree", remedy="restore the folder")
    TASKS[recipe.task]().finish(run, recipe, dataset, classifier, reporter)
    if "test" in run.record():
        draw_figures(run)
    run.write_card(model_card(run))
    # Last, so that a run stopped before its figures are drawn is not taken for a finished one.
    run.update_record(status="finished")


def draw_figures(run: Run) -> list[Path]:
    """Draw every figure of a run anew from what it has saved."""
    results = {name: tensor.numpy() for name, tensor in run.results().items()}
    return draw_run_figures(run.record(), run.log(), results, run.figures_folder)


def build_task(
    recipe: Recipe, dataset: Dataset, device: torch.device, reporter: Reporter
) -> tuple[Task, dict[str, Any]]:
    """The task, with the initial weights of its seed, and config.json.

    Raises:
        RecipeError: the model does not fit the data.
        QKVError: something else the user can mend.
    """
    common = {
        "format": 1,
        "task": recipe.task,
        "id2label": {str(number): name for number, name in enumerate(dataset.class_names)},
    }
    task, config = TASKS[recipe.task]().build(recipe, dataset, device, reporter)
    return task, {**common, **config}


def train(
    recipe: Recipe,
    *,
    out: Path | str | None = None,
    data: Path | str | None = None,
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> Run:
    """Train by a recipe, test, and draw.

    Args:
        recipe: what to train and how.
        out: the run folder, new or empty; `runs/NAME` with the data's name if None.
        data: a folder of images, a table or folder of texts, or the data set's files.
        skip_bad: leave out files or rows that cannot be used and record them.
        reporter: receives progress.

    Raises:
        QKVError: something the user can mend; the message says how.
    """
    reporter = reporter or Reporter()
    device = resolve_device(recipe.training.device)
    if out is not None:
        Run.require_free(Path(out))  # before minutes are spent on reading the data
    dataset = load_dataset(recipe, data, skip_bad=skip_bad, reporter=reporter)
    for note in dataset.notes:
        reporter.note(note)
    task, config = build_task(recipe, dataset, device, reporter)
    record: dict[str, Any] = {
        "status": "running",
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "versions": _versions(),
        "machine": machine_facts(device),
        "data": describe(dataset, data),
    }
    path = Path(out) if out is not None else unused_path(Path("runs") / _run_name(recipe, dataset))
    run = Run.create(path, config=config, record=record)
    return _fit_and_finish(run, recipe, dataset, task, device, reporter, resume=False)


def resume(
    path: Path | str, *, data: Path | str | None = None, reporter: Reporter | None = None
) -> Run:
    """Go on with a run that was stopped; a finished run is returned as it is.

    Args:
        path: the run folder.
        data: where the data are now, if they have moved.
        reporter: receives progress.

    Raises:
        RunError: it is no run, or its data have changed.
        QKVError: something else the user can mend.
    """
    reporter = reporter or Reporter()
    run = Run.open(path)
    record = run.record()
    if record.get("status") == "finished":
        reporter.note(f"{run.path} is finished already")
        return run
    if record.get("status") == "diverged":
        raise RunError(
            f"{run.path} diverged, and would again",
            remedy="start a new run with a lower training.learning_rate",
        )
    for key in ("recipe", "data"):
        if not isinstance(record.get(key), dict):
            raise RunError(f"{run.path / 'run.json'} lacks {key!r}", remedy="restore the file")
    recipe = parse_recipe(record["recipe"], where=str(run.path / "run.json"))
    device = resolve_device(recipe.training.device)
    known = record["data"]
    dataset = load_dataset(
        recipe,
        data if data is not None else known["folder"],
        skip_bad=bool(known["skipped"]),
        reporter=reporter,
    )
    if fingerprint(dataset) != known["sha256"]:
        raise RunError(
            f"the data of {run.path} have changed since it was started",
            remedy="name the same data with --data, or start a new run",
        )
    task, _ = build_task(recipe, dataset, device, reporter)
    return _fit_and_finish(run, recipe, dataset, task, device, reporter, resume=True)


def _fit_and_finish(
    run: Run,
    recipe: Recipe,
    dataset: Dataset,
    task: Task,
    device: torch.device,
    reporter: Reporter,
    *,
    resume: bool,
) -> Run:
    with run.locked(), with_tensorboard(reporter, run.path) as told:
        if run.record()["status"] == "finished":  # by another process, while the data were read
            return run
        # On the same device a run goes on in the precision that it began with.
        began = run.record()
        training = recipe.training
        if began["machine"]["device"] == device.type and "precision" in began:
            training = training.model_copy(update={"precision": began["precision"]})
        stepper = TrainStep(task, training, seed=recipe.seed, device=device)
        fit = Fit(stepper, recipe.training, run=run, reporter=told)
        if not (resume and fit.resume()):
            expected = estimate(task, recipe.training, device)
            require_space(
                run.path,
                int(_DISK_MARGIN * expected.disk_bytes),
                what="the run needs",
                remedy="free the disk or choose another folder with --out",
                error=RunError,
            )
            told.estimate(expected)
            run.update_record(parameters=parameter_count(task.model), estimate=vars(expected))
        precision = str(stepper.precision).removeprefix("torch.")
        run.update_record(status="running", precision=precision)
        try:
            position = fit.train()
        except DivergenceError:
            run.update_record(status="diverged")
            raise
        run.update_record(epochs=position.epochs, train_seconds=position.seconds)
        finish(run, recipe, dataset, position.best_epoch, told)
        run.clear_position()
    return run


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "qkv": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _run_name(recipe: Recipe, dataset: Dataset) -> str:
    own = recipe.data.dataset in ("folder", "table")
    return dataset.name if own else recipe.data.dataset
