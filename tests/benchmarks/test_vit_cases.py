"""The baseline is the same function as qkv's model; what is timed is what `qkv train` does."""

import ast
import inspect
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks import plain_vit, run, vit
from benchmarks.plain_vit import PlainTraining, PlainViT
from benchmarks.vit import (
    Pace,
    RecipeTraining,
    TimedTraining,
    plain_weights,
    require_same_loss,
    time_ratio,
    train_in_turns,
)
from qkv.data import fashion_mnist
from qkv.data.dataset import ImageDataset, ImageSplit
from qkv.errors import QKVError
from qkv.progress import Reporter
from qkv.runs import Run
from qkv.training.checkpoint import seed_initial_weights
from qkv.training.loop import Fit, TrainStep
from qkv.training.recipe import load_recipe, parse_recipe
from qkv.training.vision_task import VisionTask
from qkv.vision.classifier import Preprocessing
from qkv.vision.vit import ViT, ViTSettings


@pytest.fixture
def models():
    torch.manual_seed(3)
    recipe = load_recipe("fashion-mnist", "reference")
    data = {"image_size": 28, "channels": 1, "num_classes": 10}
    ours = ViT(ViTSettings.parse(recipe.model.model_dump() | data, where="model"))
    plain = PlainViT()
    plain.load_state_dict(plain_weights(ours))
    return plain.eval(), ours.eval()


def test_parameter_count_is_the_printed_one():
    assert sum(p.numel() for p in PlainViT().parameters()) == 598_794


def test_log_probabilities_and_every_gradient_agree_with_qkv(models):
    plain, ours = models
    images, labels = torch.randn(7, 1, 28, 28), torch.arange(7)
    theirs_out, ours_out = plain(images), F.log_softmax(ours(images), dim=1)
    torch.testing.assert_close(theirs_out, ours_out, rtol=1e-5, atol=1e-5)

    F.nll_loss(theirs_out, labels).backward()
    F.nll_loss(ours_out, labels).backward()
    gradients = {name: p.grad for name, p in plain.named_parameters()}
    expected = plain_weights_of_gradients(ours)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def plain_weights_of_gradients(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    return plain_weights(model)


def test_dropout_is_in_all_its_places():
    dropouts = [m for m in PlainViT().modules() if isinstance(m, torch.nn.Dropout)]
    assert [m.p for m in dropouts] == [0.1] * (1 + 6 * 3)


def test_position_and_class_token_start_from_the_standard_normal():
    torch.manual_seed(0)
    model = PlainViT()
    assert model.positions.shape == (1, 50, 64)
    assert 0.95 < model.positions.std() < 1.05
    assert 0.7 < model.class_token.std() < 1.3


def test_it_imports_nothing_of_qkv_but_the_shape_of_a_data_set():
    tree = ast.parse(inspect.getsource(plain_vit))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name.startswith("qkv")} == {
        "qkv.data.dataset",
    }


TINY = {
    "task": "vision",
    "seed": 5,
    "data": {"dataset": "fashion-mnist"},
    "model": {
        "dim": 8,
        "depth": 1,
        "num_heads": 2,
        "head_dim": 4,
        "mlp_dim": 8,
        "dropout": 0.2,
    },
    "augment": {"horizontal_flip": True, "shift_pixels": 1},
    "training": {
        "epochs": 3,
        "batch_size": 7,
        "device": "cpu",
        "schedule": "cosine",
        "warmup_steps": 2,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "max_gradient_norm": 0.5,
        "learning_rate": 0.01,
        "test_each_epoch": True,
    },
}


def random_images(seed, count, size, classes):
    generator = np.random.default_rng(seed)
    return ImageSplit(
        store=generator.integers(0, 256, (count, 1, size, size), dtype=np.uint8),
        rows=np.arange(count),
        labels=generator.integers(0, classes, count),
    )


@pytest.fixture
def data():
    split = random_images(1, 40, 8, 3)
    return ImageDataset("tiny", ("a", "b", "c"), split, None, split, "generated", {})


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_same_weights_and_accuracy_as_the_training_loop(data, tmp_path, ema_decay):
    recipe = parse_recipe(
        {**TINY, "training": {**TINY["training"], "ema_decay": ema_decay}}, where="test"
    )
    device = torch.device("cpu")

    seed_initial_weights(recipe.seed)
    facts = {"image_size": 8, "channels": 1, "num_classes": 3}
    model = ViT(ViTSettings.parse(recipe.model.model_dump() | facts, where="test"))
    preprocessing = Preprocessing(image_size=8, channels=1)
    task = VisionTask(model, data, preprocessing, recipe.augment, recipe.training, device)
    run = Run.create(tmp_path / "run", config={}, record={"status": "running"})
    stepper = TrainStep(task, recipe.training, seed=recipe.seed, device=device)
    fit = Fit(stepper, recipe.training, run=run, reporter=Reporter())
    position = fit.train()

    training = RecipeTraining(recipe, data, device)
    for epoch in range(training.epochs):
        for batch in training.epoch_batches(epoch):
            training.step(batch)
        assert training.test_accuracy() == position.epochs[epoch]["test_accuracy"]

    assert training.model.state_dict().keys() == model.state_dict().keys()
    for name, weights in model.state_dict().items():
        assert torch.equal(training.model.state_dict()[name], weights), name


@pytest.fixture
def pair():
    split = random_images(0, 12, 28, 10)
    data = ImageDataset("random", tuple("abcdefghij"), split, None, split, "generated", {})
    device = torch.device("cpu")
    recipe = load_recipe("fashion-mnist", "reference")
    return PlainTraining(data, device), RecipeTraining(recipe, data, device)


def test_document_of_a_step(monkeypatch):
    monkeypatch.setattr(vit, "IMAGES", 250)
    told = []
    document = run("vit-step", quick=True, progress=lambda *counts: told.append(counts))
    assert document.keys() == {"case", "ratios", "figures", "machine"}
    assert document["case"] == "vit-step"
    assert document["ratios"].keys() == {"same_settings", "fast_recipe"}
    assert all(ratio > 0 for ratio in document["ratios"].values())
    figures = document["figures"]
    for name in ("plain", "qkv", "fast"):
        low, median, high = figures["quartiles_us_per_image"][name]
        assert 0 < low <= median <= high
        assert figures[f"{name}_us_per_image"] == median
    assert figures["parameters"]["plain"] == figures["parameters"]["qkv"] == 598_794
    assert figures["batch_sizes"]["plain"] == figures["batch_sizes"]["qkv"] == 100
    assert figures["precision"]["plain"] == figures["precision"]["qkv"] == "float32"
    assert figures["loss_difference"] <= 1e-5
    assert told[-1] == (figures["rounds"], figures["rounds"])
    assert document["machine"]["device"] == figures["device"]
    json.dumps(document, allow_nan=False)


def test_gate_opens_for_the_true_twin(pair):
    plain, qkv = pair
    before = plain.model.positions.clone()
    assert require_same_loss(plain, qkv, np.arange(12)) <= 1e-5
    # It compared qkv's weights, not two random starts that happen to agree.
    assert not torch.equal(plain.model.positions, before)


@pytest.mark.parametrize("fault", ["activation", "normalisation", "not a number"])
def test_gate_trips_for_a_perturbed_twin(pair, fault):
    plain, qkv = pair
    if fault == "activation":
        plain.model.blocks[0].mlp[1] = torch.nn.ReLU()
    elif fault == "normalisation":
        plain._images += 0.5
    else:
        plain._images *= float("nan")
    with pytest.raises(QKVError, match="plain twin's loss"):
        require_same_loss(plain, qkv, np.arange(12))


def test_nothing_is_timed_behind_a_shut_gate(monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("timed")

    monkeypatch.setattr(vit, "IMAGES", 250)
    monkeypatch.setattr(vit, "LOSS_TOLERANCE", -1.0)
    monkeypatch.setattr(vit, "interleaved", never)
    with pytest.raises(QKVError):
        vit.measure_step(quick=True)


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
    pace = Pace(check_every_images=20, slice_images=20)
    trainings = [
        TimedTraining(Scripted("a", diary), pace),
        TimedTraining(Scripted("b", diary, epochs=1), pace),
    ]
    told = []
    train_in_turns(trainings, lambda *counts: told.append(counts))
    # An epoch ends in a batch of 5, so the second slice of a takes three steps to reach 20.
    assert "".join(name for name, _ in diary) == "aabbaaabbaaa"
    assert [training.images for training in trainings] == [70, 35]
    assert told[-1] == (105, 105)


def test_tests_come_at_the_pace_and_at_each_epochs_end():
    training = TimedTraining(
        Scripted("a", []), Pace(target_accuracy=0.99, check_every_images=20, slice_images=1000)
    )
    train_in_turns([training])
    curve = training.result()["curve"]
    assert [(t["images"], t["epoch"]) for t in curve] == [
        (20, 1), (35, 1), (45, 2), (65, 2), (70, 2)
    ]  # fmt: skip
    seconds = [test["seconds"] for test in curve]
    assert seconds == sorted(seconds)


def test_the_first_test_at_the_target_ends_the_train_in_turns():
    training = TimedTraining(
        Scripted("a", []), Pace(target_accuracy=0.3, check_every_images=20, slice_images=1000)
    )
    train_in_turns([training])
    result = training.result()
    assert (result["reached"], result["images"], result["accuracy"]) == (True, 45, 0.3)
    assert training.images == 45
    assert result["seconds"] == training.seconds == result["curve"][2]["seconds"]


def test_without_a_crossing_the_whole_training_counts():
    training = TimedTraining(
        Scripted("a", []), Pace(target_accuracy=0.99, check_every_images=20, slice_images=30)
    )
    train_in_turns([training])
    result = training.result()
    assert (result["reached"], result["images"]) == (False, 70)
    assert result["seconds"] == training.seconds


def test_neither_moves_the_others_random_stream():
    def draws(rivals):
        torch.manual_seed(1)
        pace = Pace(check_every_images=20, slice_images=10)
        watched = Scripted("a", [])
        train_in_turns([TimedTraining(watched, pace), *(TimedTraining(r, pace) for r in rivals)])
        return watched.draws

    assert draws([]) == draws([Scripted("b", [], epochs=1), Scripted("c", [])])


def test_target_is_the_printed_accuracy():
    assert Pace().target_accuracy == 0.8497


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
def test_document_of_the_time_to_accuracy():
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
