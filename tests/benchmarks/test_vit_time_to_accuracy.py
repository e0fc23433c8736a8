import json

import numpy as np
import pytest
import torch

from benchmarks.registry import run
from benchmarks.vit_time_to_accuracy import Contestant, Rhythm, race, time_ratio
from qkv.data import fashion_mnist
from qkv.data.dataset import ImageDataset, ImageSplit


class Scripted:
    """A training whose accuracy grows by 0.1 a test and that notes its random draws."""

    def __init__(self, name, diary, *, epochs=2, batch=10, images=35):
        self.name, self.diary, self.epochs = name, diary, epochs
        self.batch, self.images, self.tests = batch, images, 0
        self.draws = []

    def epoch_batches(self, epoch):
        order = np.arange(self.images)
        return [order[start : start + self.batch] for start in range(0, self.images, self.batch)]

    def step(self, indices):
        self.diary.append((self.name, len(indices)))
        self.draws.append(float(torch.rand(())))
        return 0.0

    def test_accuracy(self):
        torch.rand(5)
        self.tests += 1
        return self.tests / 10


def test_slices_alternate_until_both_are_done():
    diary = []
    rhythm = Rhythm(check_every_images=20, slice_images=20)
    contestants = [
        Contestant(Scripted("a", diary), rhythm),
        Contestant(Scripted("b", diary, epochs=1), rhythm),
    ]
    told = []
    race(contestants, lambda *counts: told.append(counts))
    # An epoch ends in a batch of 5, so the second slice of a takes three steps to reach 20.
    assert "".join(name for name, _ in diary) == "aabbaaabbaaa"
    assert [contestant.images for contestant in contestants] == [70, 35]
    assert told[-1] == (105, 105)


def test_tests_come_at_the_rhythm_and_at_each_epochs_end():
    contestant = Contestant(
        Scripted("a", []), Rhythm(target_accuracy=0.99, check_every_images=20, slice_images=1000)
    )
    race([contestant])
    curve = contestant.result()["curve"]
    assert [(t["images"], t["epoch"]) for t in curve] == [
        (20, 1), (35, 1), (45, 2), (65, 2), (70, 2)
    ]  # fmt: skip
    seconds = [test["seconds"] for test in curve]
    assert seconds == sorted(seconds)


def test_the_first_test_at_the_target_ends_the_race():
    contestant = Contestant(
        Scripted("a", []), Rhythm(target_accuracy=0.3, check_every_images=20, slice_images=1000)
    )
    race([contestant])
    result = contestant.result()
    assert (result["reached"], result["images"], result["accuracy"]) == (True, 45, 0.3)
    assert contestant.images == 45
    assert result["seconds"] == contestant.seconds == result["curve"][2]["seconds"]


def test_without_a_crossing_the_whole_training_counts():
    contestant = Contestant(
        Scripted("a", []), Rhythm(target_accuracy=0.99, check_every_images=20, slice_images=30)
    )
    race([contestant])
    result = contestant.result()
    assert (result["reached"], result["images"]) == (False, 70)
    assert result["seconds"] == contestant.seconds


def test_neither_moves_the_others_random_stream():
    def draws(rivals):
        torch.manual_seed(1)
        rhythm = Rhythm(check_every_images=20, slice_images=10)
        watched = Scripted("a", [])
        race([Contestant(watched, rhythm), *(Contestant(r, rhythm) for r in rivals)])
        return watched.draws

    assert draws([]) == draws([Scripted("b", [], epochs=1), Scripted("c", [])])


def test_target_is_the_printed_accuracy():
    assert Rhythm().target_accuracy == 0.8497


def test_ratio_by_hand():
    plain = {"seconds": 60.0, "reached": False}
    assert time_ratio(plain, {"seconds": 10.0, "reached": True}) == 6.0
    assert time_ratio(plain, {"seconds": 10.0, "reached": False}) == 0.0


@pytest.fixture
def small_fashion_mnist(monkeypatch):
    def split(seed, count):
        generator = np.random.default_rng(seed)
        labels = np.arange(count) % 10
        store = generator.integers(0, 60, (count, 1, 28, 28), dtype=np.uint8)
        for image, label in zip(store, labels, strict=True):
            image[0, 2 * label : 2 * label + 4] = 255
        return ImageSplit(store=store, rows=np.arange(count), labels=labels)

    data = ImageDataset(
        "fashion-mnist", fashion_mnist.CLASS_NAMES, split(0, 300), None, split(1, 100), "made", {}
    )
    monkeypatch.setattr(fashion_mnist, "load", lambda *_args, **_kwargs: data)


@pytest.mark.usefixtures("small_fashion_mnist")
def test_document():
    told = []
    document = run("vit-time-to-accuracy", quick=True, progress=lambda *counts: told.append(counts))
    assert document.keys() == {"case", "ratios", "figures", "machine"}
    assert document["case"] == "vit-time-to-accuracy"
    assert document["ratios"].keys() == {"fast_recipe"}
    assert document["ratios"]["fast_recipe"] > 0
    figures = document["figures"]
    for name in ("plain", "fast"):
        assert figures[f"{name}_reached"] is True
        last = figures[f"{name}_curve"][-1]
        for key in ("seconds", "images", "accuracy"):
            assert figures[f"{name}_{key}"] == last[key] > 0
    assert figures["ratio_is_lower_bound"] is False
    assert figures["seeds"]["plain"] == 42
    trained = figures["plain_images"] + figures["fast_images"]
    assert told[-1] == (trained, 500)
    json.dumps(document, allow_nan=False)
