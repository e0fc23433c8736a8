"""One experiment: a recipe goes in, a finished run folder comes out."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkv import figures
from qkv.classifiers import load
from qkv.devices import machine_facts, resolve_device
from qkv.errors import DivergenceError, RunError
from qkv.evaluation.metrics import evaluate_predictions
from qkv.model_card import model_card
from qkv.runs import Run
from qkv.training.data import describe, fingerprint, load_dataset
from qkv.training.fit import Fit
from qkv.training.forecast import forecast
from qkv.training.progress import Reporter, Silent
from qkv.training.recipe import Recipe, parse_recipe
from qkv.training.step import Stepper
from qkv.training.tensorboard import with_tensorboard
from qkv.training.vision_task import VisionTask, build_vision_task
from qkv.vision.dataset import ImageDataset, ImageSplit
from qkv.vision.vit import parameter_count

SAMPLES, MISTAKES = 3, 16
FORECAST_ROOM = 1.2


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
        data: a folder of images, or of the data set's files.
        skip_bad: leave out files that cannot be used and record them.
        reporter: receives progress.

    Raises:
        QKVError: something the user can mend; the message says how.
    """
    reporter = reporter or Silent()
    device = resolve_device(recipe.training.device)
    if out is not None:
        Run.require_free(Path(out))  # before minutes are spent on reading the data
    dataset = load_dataset(recipe, data, skip_bad=skip_bad, progress=reporter.data)
    for note in dataset.notes:
        reporter.note(note)
    task = build_vision_task(recipe, dataset, device)
    record: dict[str, Any] = {
        "status": "running",
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "versions": _versions(),
        "machine": machine_facts(device),
        "data": describe(dataset, data),
    }
    config = {
        "format": 1,
        "task": recipe.task,
        "model": task.model.settings.model_dump(mode="json"),
        "preprocessing": task.preprocessing.model_dump(mode="json"),
        "id2label": {str(number): name for number, name in enumerate(dataset.class_names)},
    }
    path = Path(out) if out is not None else _free_folder(_run_name(recipe, dataset))
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
    reporter = reporter or Silent()
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
        progress=reporter.data,
    )
    if fingerprint(dataset) != known["sha256"]:
        raise RunError(
            f"the data of {run.path} have changed since it was started",
            remedy="name the same data with --data, or start a new run",
        )
    task = build_vision_task(recipe, dataset, device)
    return _fit_and_finish(run, recipe, dataset, task, device, reporter, resume=True)


def draw_figures(run: Run) -> list[Path]:
    """Draw every figure of a run anew from what it has saved."""
    results = {name: tensor.numpy() for name, tensor in run.results().items()}
    return figures.draw_run_figures(run.record(), run.log(), results, run.figures_folder)


def _fit_and_finish(
    run: Run,
    recipe: Recipe,
    dataset: ImageDataset,
    task: VisionTask,
    device: torch.device,
    reporter: Reporter,
    *,
    resume: bool,
) -> Run:
    with run.locked(), with_tensorboard(reporter, run.path) as told:
        if run.record()["status"] == "finished":  # by another process, while the data were read
            return run
        stepper = Stepper(task, recipe.training, seed=recipe.seed, device=device)
        fit = Fit(stepper, recipe.training, run=run, reporter=told)
        if not (resume and fit.resume()):
            expected = forecast(task, recipe.training, device)
            _require_disk(run.path, expected.disk_bytes)
            told.forecast(expected)
            run.update_record(parameters=parameter_count(task.model), forecast=vars(expected))
        precision = str(stepper.precision).removeprefix("torch.")
        run.update_record(status="running", precision=precision)
        try:
            position = fit.train()
        except DivergenceError:
            run.update_record(status="diverged")
            raise
        run.update_record(epochs=position.epochs, train_seconds=position.seconds)
        _finish(run, recipe, dataset, position.best_epoch)
        run.clear_position()
    return run


def _finish(run: Run, recipe: Recipe, dataset: ImageDataset, kept_epoch: int) -> None:
    """Test the kept weights, save what figures need, draw, and write the card."""
    classifier = load(run, device=recipe.training.device)
    record = run.record()
    if dataset.test is not None:
        logits = classifier.predict_logits(dataset.test)
        run.save_results(_results(logits, dataset.test))
        document = evaluate_predictions(logits.numpy(), dataset.test.labels, classifier.class_names)
        same = {key: record[key] for key in ("parameters", "train_seconds", "seed")}
        record["test"] = {**document, **same}
    run.write_record({**record, "kept_epoch": kept_epoch})
    if dataset.test is not None:
        draw_figures(run)
    run.write_card(model_card(run))
    # Last, so that a run stopped before its figures are drawn is not taken for a finished one.
    run.update_record(status="finished")


def _results(logits: Tensor, test: ImageSplit) -> dict[str, Tensor]:
    labels = torch.from_numpy(test.labels)
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    wrong = torch.nonzero(predicted != labels)[:, 0]
    mistakes = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES]
    samples = torch.arange(min(SAMPLES, len(labels)))
    return {
        "test_logits": logits,
        "test_labels": labels,
        "sample_indices": samples,
        "sample_images": torch.from_numpy(test.take(samples.numpy())),
        "mistake_indices": mistakes,
        "mistake_images": torch.from_numpy(test.take(mistakes.numpy())),
    }


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "qkv": importlib.metadata.version("qkv"),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _run_name(recipe: Recipe, dataset: ImageDataset) -> str:
    return dataset.name if recipe.data.dataset == "folder" else recipe.data.dataset


def _free_folder(name: str) -> Path:
    """`runs/NAME`, or `runs/NAME-2` and so on when it is taken."""
    first = Path("runs") / name
    number, path = 1, first
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


def _require_disk(path: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(path).free
    if free < FORECAST_ROOM * needed_bytes:
        raise RunError(
            f"the run needs {needed_bytes / 2**20:.0f} MiB and the disk of {path} has "
            f"{free / 2**20:.0f} MiB left",
            remedy="free the disk or choose another folder with --out",
        )
