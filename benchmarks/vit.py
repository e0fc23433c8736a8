"""Training a small Vision Transformer: time an image in a step, and seconds to an accuracy.

The plain baseline and qkv's recipes take turns in one process, so both see the same noise of the
machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.plain_vit import BATCH_SIZE, EPOCHS, SEED, PlainTraining
from qkv.data.dataset import ImageDataset, ImageSplit, IntArray
from qkv.data.fashion_mnist import CLASS_NAMES
from qkv.devices import autocast, resolve_device
from qkv.errors import QKVError
from qkv.evaluation.reported import FASHION_MNIST
from qkv.measurement.timing import interleaved, quartiles, round_ratios
from qkv.progress import Progress, Reporter
from qkv.training.data import load_dataset
from qkv.training.loop import TrainStep
from qkv.training.recipe import load_recipe_of
from qkv.training.vision_task import VisionRecipe, build_vision_task
from qkv.vision.vit import ViT, parameter_count

LOSS_TOLERANCE = 1e-5
IMAGES = 10_000
ROUNDS, WARMUP_ROUNDS = 60, 5
QUICK_ROUNDS, QUICK_WARMUP_ROUNDS = 2, 0


class RecipeTraining:
    """qkv's training by a recipe, step by step and without a run folder.

    Args:
        recipe: what to train and how.
        dataset: its images; the recipe's validation split is already carved off.
        device: where to compute.
    """

    def __init__(self, recipe: VisionRecipe, dataset: ImageDataset, device: torch.device) -> None:
        self._task, _ = build_vision_task(recipe, dataset, device, Reporter())
        self.model = self._task.model
        self.epochs = recipe.training.epochs
        self._stepper = TrainStep(self._task, recipe.training, seed=recipe.seed, device=device)
        self.precision = self._stepper.precision
        self._device = device
        self._steps_done = 0

    def epoch_batches(self, epoch: int) -> list[IntArray]:
        """Index batches of an epoch, counted from 0."""
        return list(self._stepper.epoch_batches(epoch))

    def loss(self, indices: IntArray) -> Tensor:
        """The recipe's loss on the images at `indices`, augmented as the recipe says."""
        with autocast(self._device, self.precision):
            return self._task.train_step(self.model, indices).loss

    def step(self, indices: IntArray) -> float:
        """One step of the recipe's optimiser on the images at `indices`; returns the loss."""
        outcome = self._stepper.step(indices, self._steps_done)
        self._steps_done += 1
        return float(outcome.loss)

    def test_accuracy(self) -> float:
        """Share of the test split classified correctly by the weights that a run would keep."""
        with self._stepper.kept_weights():
            return self._stepper.predict("test").accuracy


def measure_step(*, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Microseconds an image of a whole step: zero_grad, forward, loss, backward, optimiser.

    Images are random bytes of Fashion-MNIST's shape: the time of a step does not depend on them.

    Raises:
        QKVError: baseline and qkv do not compute the same loss, so their times cannot be compared.
    """
    reference = load_recipe_of(VisionRecipe, "fashion-mnist", "reference")
    fast = load_recipe_of(VisionRecipe, "fashion-mnist", "fast")
    device = resolve_device(reference.training.device)
    data = _random_images()
    plain, same = PlainTraining(data, device), RecipeTraining(reference, data, device)
    quickest = RecipeTraining(fast, data, device)
    trainings: dict[str, PlainTraining | RecipeTraining]
    trainings = {"plain": plain, "qkv": same, "fast": quickest}
    difference = require_same_loss(plain, same, np.arange(BATCH_SIZE))
    batch_sizes = {
        "plain": BATCH_SIZE,
        "qkv": reference.training.batch_size,
        "fast": fast.training.batch_size,
    }
    rounds = QUICK_ROUNDS if quick else ROUNDS
    warmup_rounds = QUICK_WARMUP_ROUNDS if quick else WARMUP_ROUNDS
    steps = {name: _endless_steps(training) for name, training in trainings.items()}
    seconds = interleaved(steps, rounds, warmup_rounds, progress=progress)
    times = {
        name: [1e6 * second / batch_sizes[name] for second in values]
        for name, values in seconds.items()
    }
    ratios = {
        "same_settings": round_ratios(times["plain"], times["qkv"]),
        "fast_recipe": round_ratios(times["plain"], times["fast"]),
    }
    return {
        "ratios": {name: statistics.median(values) for name, values in ratios.items()},
        "figures": {
            **{f"{name}_us_per_image": statistics.median(times[name]) for name in times},
            "quartiles_us_per_image": {name: quartiles(times[name]) for name in times},
            "quartiles_ratios": {name: quartiles(values) for name, values in ratios.items()},
            "rounds": rounds,
            "warmup_rounds": warmup_rounds,
            "quick": quick,
            "batch_sizes": batch_sizes,
            "parameters": {name: parameter_count(of.model) for name, of in trainings.items()},
            "precision": {
                "plain": "float32",
                "qkv": str(same.precision).removeprefix("torch."),
                "fast": str(quickest.precision).removeprefix("torch."),
            },
            "device": device.type,
            "loss_difference": difference,
            "images": "random bytes of Fashion-MNIST's shape",
        },
    }


def require_same_loss(plain: PlainTraining, qkv: RecipeTraining, indices: IntArray) -> float:
    """Give the baseline qkv's weights and compare the losses without dropout.

    Returns:
        The absolute difference of the losses.

    Raises:
        QKVError: it exceeds 1e-5.
    """
    plain.model.load_state_dict(plain_weights(qkv.model))
    plain.model.eval()
    qkv.model.eval()
    with torch.no_grad():
        ours, theirs = float(qkv.loss(indices)), float(plain.loss(indices))
    difference = abs(ours - theirs)
    # Written so that NaN fails too.
    if not difference <= LOSS_TOLERANCE:
        raise QKVError(
            f"the plain twin's loss is {theirs:.7f} and qkv's {ours:.7f} at equal weights",
            remedy="mend the one that is wrong before timing either",
        )
    return difference


def plain_weights(model: ViT) -> dict[str, Tensor]:
    """The weights of a qkv ViT under the names that the baseline uses."""
    renamed = {
        "stem": "embed",
        "attention_norm": "norm1",
        "mlp_norm": "norm2",
        "qkv": "project_in",
        "output": "project_out",
    }
    final = {"norm": "head.0", "head": "head.1"}
    weights = {}
    for name, tensor in model.state_dict().items():
        first, _, rest = name.partition(".")
        if first in final:
            weights[f"{final[first]}.{rest}"] = tensor
        else:
            weights[".".join(renamed.get(part, part) for part in name.split("."))] = tensor
    return weights


def _endless_steps(training: PlainTraining | RecipeTraining) -> Callable[[], None]:
    def batches() -> Iterator[IntArray]:
        epoch = 0
        while True:
            yield from training.epoch_batches(epoch)
            epoch += 1

    drawn = batches()

    def step() -> None:
        # Returns the loss as a number, so an accelerator has finished by then.
        training.step(next(drawn))

    return step


def _random_images() -> ImageDataset:
    generator = np.random.default_rng(0)
    split = ImageSplit(
        store=generator.integers(0, 256, (IMAGES, 1, 28, 28), dtype=np.uint8),
        rows=np.arange(IMAGES),
        labels=generator.integers(0, len(CLASS_NAMES), IMAGES),
    )
    test = split.subset(np.arange(1))
    return ImageDataset("random", CLASS_NAMES, split, None, test, "a random generator", {})


@dataclass(frozen=True)
class Pace:
    """How far a training goes and how often it is tested."""

    target_accuracy: float = FASHION_MNIST.epochs[-1][
        "test_accuracy"
    ]  # share of the test split to reach
    # training images between two tests; an epoch's end is tested too
    check_every_images: int = 10_000
    slice_images: int = 1_000  # training images before it is the other training's turn


# Guessing passes the quick target, so there is a ratio whatever the weights.
QUICK_PACE = Pace(target_accuracy=0.02, check_every_images=100, slice_images=100)
QUICK_TRAIN_IMAGES, QUICK_TEST_IMAGES = 250, 100
QUICK_OVERRIDES = ("training.epochs=1", "training.warmup_steps=0")


class TimedTraining:
    """A training with its stopwatch, its tests, and a random stream of its own.

    Only training steps are timed. The test split is a stopwatch here: it decides nothing about a
    recipe.
    """

    def __init__(self, training: PlainTraining | RecipeTraining, pace: Pace) -> None:
        self.images = 0
        self.seconds = 0.0
        self.curve: list[dict[str, Any]] = []
        self._training = training
        self._pace = pace
        self._batches = self._schedule()
        self._random_state = torch.get_rng_state()
        self.total_images = training.epochs * sum(map(len, training.epoch_batches(0)))

    def train_slice(self) -> bool:
        """Train for one slice.

        Returns:
            Whether it goes on after it: the target is not reached and its schedule not ended.
        """
        # As if it trained alone: no training's draws move the other's stream.
        torch.set_rng_state(self._random_state)
        end = self.images + self._pace.slice_images
        goes_on = True
        while goes_on and self.images < end:
            goes_on = self._train_step()
        self._random_state = torch.get_rng_state()
        return goes_on

    def result(self) -> dict[str, Any]:
        """When it reached the target, or how far it came, and every test on the way."""
        last = self.curve[-1]
        figures = {key: last[key] for key in ("seconds", "images", "accuracy")}
        return {"reached": self._reached(), **figures, "curve": self.curve}

    def _reached(self) -> bool:
        target = self._pace.target_accuracy
        return bool(self.curve) and self.curve[-1]["accuracy"] >= target

    def _schedule(self) -> Iterator[tuple[IntArray, int, bool]]:
        for epoch in range(self._training.epochs):
            batches = self._training.epoch_batches(epoch)
            for number, batch in enumerate(batches, start=1):
                yield batch, epoch + 1, number == len(batches)

    def _train_step(self) -> bool:
        batch, epoch, ends_epoch = next(self._batches)
        started = time.perf_counter()
        self._training.step(batch)
        self.seconds += time.perf_counter() - started
        checks = self.images // self._pace.check_every_images
        self.images += len(batch)
        if ends_epoch or self.images // self._pace.check_every_images > checks:
            self.curve.append(
                {
                    "images": self.images,
                    "epoch": epoch,
                    "seconds": self.seconds,
                    "accuracy": self._training.test_accuracy(),
                }
            )
        return self.images < self.total_images and not self._reached()


def measure_time_to_accuracy(
    *, quick: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Seconds of training to 84.97 % test accuracy: the baseline, and the fast recipe.

    Raises:
        DataError: Fashion-MNIST is nowhere and cannot be fetched.
    """
    pace, epochs = (QUICK_PACE, 1) if quick else (Pace(), EPOCHS)
    recipe = load_recipe_of(VisionRecipe, "fashion-mnist", "fast", QUICK_OVERRIDES if quick else ())
    device = resolve_device(recipe.training.device)
    everything = load_dataset(load_recipe_of(VisionRecipe, "fashion-mnist", "reference"), None)
    carved = load_dataset(recipe, None)
    if quick:
        everything, carved = _few_images(everything), _few_images(carved)

    # Each random stream begins where the construction of its own training left it.
    fast = TimedTraining(RecipeTraining(recipe, carved, device), pace)
    plain = TimedTraining(PlainTraining(everything, device, epochs), pace)
    train_in_turns([fast, plain], progress)
    results = {"plain": plain.result(), "fast": fast.result()}
    return {
        "ratios": {"fast_recipe": time_ratio(results["plain"], results["fast"])},
        "figures": {
            "target_accuracy": pace.target_accuracy,
            **{
                f"{name}_{key}": value
                for name, result in results.items()
                for key, value in result.items()
            },
            "ratio_is_lower_bound": not results["plain"]["reached"] and results["fast"]["reached"],
            "check_every_images": pace.check_every_images,
            "slice_images": pace.slice_images,
            "seeds": {"plain": SEED, "fast": recipe.seed},
            "device": device.type,
            "quick": quick,
            "seconds_are": "training steps only; tests and loading are left out",
        },
    }


def train_in_turns(trainings: list[TimedTraining], progress: Progress | None = None) -> None:
    """Train each to the target or the end of its schedule, a slice each in turn."""
    total = sum(training.total_images for training in trainings)
    running = list(trainings)
    while running:
        running = [training for training in running if training.train_slice()]
        if progress is not None:
            progress(sum(training.images for training in trainings), total)


def time_ratio(plain: dict[str, Any], fast: dict[str, Any]) -> float:
    """How many times sooner the fast recipe reaches the target.

    A baseline that never does counts with its whole training, which makes the ratio a lower
    bound; a recipe that never does gets 0.
    """
    return float(plain["seconds"] / fast["seconds"]) if fast["reached"] else 0.0


def _few_images(data: ImageDataset) -> ImageDataset:
    assert data.test is not None
    train = data.train.subset(np.arange(QUICK_TRAIN_IMAGES))
    return replace(data, train=train, test=data.test.subset(np.arange(QUICK_TEST_IMAGES)))
