"""Seconds of training until the source's test accuracy: the plain twin and the fast recipe.

The two train in alternating slices of one process, so both see the same noise of the machine. Only
training is timed. The test split serves as a stopwatch here and decides nothing about a recipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.plain_vit import EPOCHS, SEED, PlainTraining
from benchmarks.recipe_training import RecipeTraining
from qkv.data.dataset import ImageDataset, IntArray
from qkv.devices import resolve_device
from qkv.evaluation.reported import S4
from qkv.training.data import load_dataset
from qkv.training.recipe import VisionRecipe, load_recipe_of

TARGET_ACCURACY = S4.epochs[-1].test_accuracy


@dataclass(frozen=True)
class Rhythm:
    """How far a race goes and how often it is looked at.

    Attributes:
        target_accuracy: share of the test split to reach.
        check_every_images: training images between two tests; an epoch's end is tested too.
        slice_images: training images before the other contestant's turn.
    """

    target_accuracy: float = TARGET_ACCURACY
    check_every_images: int = 10_000
    slice_images: int = 1_000


# Guessing passes the quick target, so a quick race ends with a ratio whatever the weights.
QUICK_RHYTHM = Rhythm(target_accuracy=0.02, check_every_images=100, slice_images=100)
QUICK_TRAIN_IMAGES, QUICK_TEST_IMAGES = 250, 100
QUICK_OVERRIDES = ("training.epochs=1", "training.warmup_steps=0")


class Training(Protocol):
    """What a contestant trains."""

    epochs: int

    def epoch_batches(self, epoch: int) -> list[IntArray]:
        """Index batches of an epoch, counted from 0."""
        ...

    def step(self, indices: IntArray) -> float:
        """One training step; returns when it is done."""
        ...

    def test_accuracy(self) -> float:
        """Share of the test split that is classified correctly now."""
        ...


class Contestant:
    """A training with its stopwatch, its tests, and a random stream of its own."""

    def __init__(self, training: Training, rhythm: Rhythm) -> None:
        self.images = 0
        self.seconds = 0.0
        self.curve: list[dict[str, Any]] = []
        self._training = training
        self._rhythm = rhythm
        self._batches = self._schedule()
        self._random_state = torch.get_rng_state()
        self.total_images = training.epochs * sum(map(len, training.epoch_batches(0)))

    def train_slice(self) -> bool:
        """Train for one slice.

        Returns:
            Whether it goes on after it: the target is not reached and its schedule not ended.
        """
        # As if it trained alone: neither contestant's draws move the other's stream.
        torch.set_rng_state(self._random_state)
        end = self.images + self._rhythm.slice_images
        goes_on = True
        while goes_on and self.images < end:
            goes_on = self._train_step()
        self._random_state = torch.get_rng_state()
        return goes_on

    def result(self) -> dict[str, Any]:
        """When it reached the target, or how far it came, and every test on the way."""
        last = self.curve[-1]
        return {
            "reached": self._reached(),
            "seconds": last["seconds"],
            "images": last["images"],
            "accuracy": last["accuracy"],
            "curve": self.curve,
        }

    def _reached(self) -> bool:
        target = self._rhythm.target_accuracy
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
        checks = self.images // self._rhythm.check_every_images
        self.images += len(batch)
        if ends_epoch or self.images // self._rhythm.check_every_images > checks:
            self.curve.append(
                {
                    "images": self.images,
                    "epoch": epoch,
                    "seconds": self.seconds,
                    "accuracy": self._training.test_accuracy(),
                }
            )
        return self.images < self.total_images and not self._reached()


def measure(
    *, quick: bool = False, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Race the plain twin, as specified, against the fast recipe to 84.97 % test accuracy.

    Args:
        quick: a few hundred images and a low target, to see that it runs; the figures mean nothing.
        progress: called with (done, total) training images of both together.

    Returns:
        `ratios` (`fast_recipe`; above 1 qkv is faster) and `figures`.

    Raises:
        DataError: Fashion-MNIST is nowhere and cannot be fetched.
    """
    rhythm, epochs = (QUICK_RHYTHM, 1) if quick else (Rhythm(), EPOCHS)
    recipe = load_recipe_of(VisionRecipe, "fashion-mnist", "fast", QUICK_OVERRIDES if quick else ())
    device = resolve_device(recipe.training.device)
    everything = load_dataset(load_recipe_of(VisionRecipe, "fashion-mnist", "reference"), None)
    carved = load_dataset(recipe, None)
    if quick:
        everything, carved = _few_images(everything), _few_images(carved)

    # Each contestant's random stream begins where its own construction left it.
    fast = Contestant(RecipeTraining(recipe, carved, device), rhythm)
    plain = Contestant(PlainTraining(everything, device, epochs), rhythm)
    race([fast, plain], progress)
    results = {"plain": plain.result(), "fast": fast.result()}
    return {
        "ratios": {"fast_recipe": time_ratio(results["plain"], results["fast"])},
        "figures": {
            "target_accuracy": rhythm.target_accuracy,
            **{
                f"{name}_{key}": value
                for name, result in results.items()
                for key, value in result.items()
            },
            "ratio_is_lower_bound": not results["plain"]["reached"] and results["fast"]["reached"],
            "check_every_images": rhythm.check_every_images,
            "slice_images": rhythm.slice_images,
            "seeds": {"plain": SEED, "fast": recipe.seed},
            "device": device.type,
            "quick": quick,
            "seconds_are": "training steps only; tests and loading are left out",
        },
    }


def race(contestants: list[Contestant], progress: Callable[[int, int], None] | None = None) -> None:
    """Train each to the target or the end of its schedule, a slice each in turn."""
    total = sum(contestant.total_images for contestant in contestants)
    running = list(contestants)
    while running:
        running = [contestant for contestant in running if contestant.train_slice()]
        if progress is not None:
            progress(sum(contestant.images for contestant in contestants), total)


def time_ratio(plain: dict[str, Any], fast: dict[str, Any]) -> float:
    """How many times sooner the fast recipe arrives.

    A plain twin that never arrives counts with its whole training, which makes the ratio a lower
    bound; a recipe that never arrives gets 0.
    """
    return float(plain["seconds"] / fast["seconds"]) if fast["reached"] else 0.0


def _few_images(data: ImageDataset) -> ImageDataset:
    assert data.test is not None
    return replace(
        data,
        train=data.train.subset(np.arange(QUICK_TRAIN_IMAGES)),
        test=data.test.subset(np.arange(QUICK_TEST_IMAGES)),
    )
