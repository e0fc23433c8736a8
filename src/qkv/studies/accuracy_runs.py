"""The trainings of the study "quality": planned, run or gone on with, and read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkv.attention.multihead import AttentionKernel
from qkv.errors import InterruptedRunError, RunError, StudyError
from qkv.evaluation.metrics import BoolArray
from qkv.progress import Reporter
from qkv.runs import CONFIG, Run
from qkv.training import train as experiment
from qkv.training.data import fingerprint, load_dataset
from qkv.training.recipe import load_recipe_of, parse_recipe
from qkv.training.vision_task import VisionRecipe

FAMILY, BASE_RECIPE = "fashion-mnist", "fast"
IMAGE_SIZE, CLASSES = 28, 10
KERNELS: tuple[AttentionKernel, ...] = ("softmax", "linear")
_SET_BY_THE_STUDY = {
    "model.attention": "leave it out: the study trains both kernels",
    "model.patch_size": "use --patch-sizes",
    "training.epochs": "use --epochs",
    "seed": "use --seeds",
}


@dataclass(frozen=True)
class Arm:
    """One training: a kernel at a patch size from a seed."""

    kernel: AttentionKernel  # of every block
    patch_size: int  # side of a patch, in pixels
    recipe: VisionRecipe  # all of it

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return f"patch{self.patch_size}-{self.kernel}-seed{self.recipe.seed}"

    @property
    def tokens(self) -> int:
        """Length of the sequence that attention sees."""
        return (IMAGE_SIZE // self.patch_size) ** 2 + (self.recipe.model.pooling == "class_token")


@dataclass(frozen=True)
class ArmResult:
    """What a finished arm reached."""

    correct: BoolArray  # (examples,), whether each test image is classified correctly
    epoch_seconds: tuple[float, ...]  # training time of each epoch, evaluation left out
    train_images: int  # images an epoch
    parameters: int  # of the model
    precision: str  # of matrix products
    machine: dict[str, Any]  # where it ran


def plan_arms(
    patch_sizes: Sequence[int],
    seeds: int,
    epochs: int,
    overrides: Sequence[str],
    train_images: int | None,
    data: Path | None,
    reporter: Reporter,
) -> list[Arm]:
    """Every arm, the two kernels of a pair next to each other.

    Raises:
        StudyError: a setting is the study's own, or the data have fewer images than asked for.
        QKVError: a setting is wrong, or the data are not to be had.
    """

    def recipe(*further: str) -> VisionRecipe:
        return load_recipe_of(VisionRecipe, FAMILY, BASE_RECIPE, [*changes, *further])

    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in _SET_BY_THE_STUDY:
            raise StudyError(
                f"--set {key} is set by the study itself", remedy=_SET_BY_THE_STUDY[key]
            )
    changes = [*overrides, f"training.epochs={epochs}"]
    base = recipe()
    if base.data.dataset != FAMILY:
        raise StudyError(
            "the study trains on Fashion-MNIST only", remedy="leave out --set data.dataset"
        )
    # Before the first arm, so that data which are not there are not found out in its midst.
    dataset = load_dataset(base, data, reporter=reporter)
    if train_images is not None:
        there = len(dataset.train) + (0 if dataset.validation is None else len(dataset.validation))
        if train_images > there - CLASSES:
            raise StudyError(
                f"--train-images {train_images:,} of {there:,} leaves too few to validate on",
                remedy=f"give at most {there - CLASSES:,}",
            )
        changes.append(f"data.validation_fraction={1 - train_images / there}")
    return [
        Arm(
            kernel,
            size,
            recipe(
                f"seed={base.seed + number}",
                f"model.patch_size={size}",
                f'model.attention="{kernel}"',
            ),
        )
        for number in range(seeds)
        for size in patch_sizes
        for kernel in KERNELS
    ]


def require_same(arm: Arm, folder: Path, data: Path | None) -> None:
    """See that a run left by an earlier call of the study is this arm, if there is one.

    Raises:
        StudyError: something else is in its place, or it has other settings or data.
    """
    path = folder / arm.name
    if _is_free(path):
        return
    if not (path / CONFIG).is_file():
        raise StudyError(f"{path} is no run", remedy="remove it, or choose another --out")
    record = Run.open(path).record()
    known, where = record.get("recipe"), str(path / "run.json")
    if not isinstance(known, dict):
        raise RunError(f"{where} lacks 'recipe'", remedy="restore the file")
    recorded = parse_recipe(known, where=where).model_dump(mode="json")
    then, now = dict(_flat(recorded)), dict(_flat(arm.recipe.model_dump(mode="json")))
    for key in sorted(now.keys() | then.keys()):
        if then.get(key) != now.get(key):
            raise StudyError(
                f"{path} has {key} = {then.get(key)}, and now it is to be {now.get(key)}",
                remedy="give the settings that it was started with, or choose another --out",
            )
    if record.get("status") != "finished":
        return  # its data are compared when it goes on
    known_data = record.get("data")
    hashes = known_data.get("sha256") if isinstance(known_data, dict) else None
    if hashes != fingerprint(load_dataset(arm.recipe, data)):
        raise StudyError(
            f"{path} was trained on other data", remedy="name its data, or choose another --out"
        )


def train_arm(arm: Arm, folder: Path, data: Path | None, reporter: Reporter) -> ArmResult:
    """Train an arm in `folder/NAME`, or go on where it was stopped, or read it back.

    Raises:
        InterruptedRunError: the user stopped it.
        QKVError: something the user can mend.
    """
    path = folder / arm.name
    try:
        if _is_free(path):
            run = experiment.train(arm.recipe, out=path, data=data, reporter=reporter)
        else:
            run = experiment.resume(path, data=data, reporter=reporter)
    except InterruptedRunError as stopped:
        raise InterruptedRunError(
            f"{path}: {stopped.problem}", remedy="go on with the same command"
        ) from None
    return _read(run)


def _read(run: Run) -> ArmResult:
    record, results = run.record(), run.results()
    try:
        predicted = results["test_logits"].numpy().argmax(axis=1)
        return ArmResult(
            correct=predicted == results["test_labels"].numpy(),
            epoch_seconds=tuple(float(entry["seconds"]) for entry in record["epochs"]),
            train_images=int(record["data"]["examples"]["train"]),
            parameters=int(record["parameters"]),
            precision=str(record["precision"]),
            machine=dict(record["machine"]),
        )
    except KeyError as missing:
        raise RunError(f"{run.path} lacks {missing}", remedy="restore the folder") from None


def _is_free(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as `section.name`, value."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
