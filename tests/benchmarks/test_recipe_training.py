"""What a benchmark times must be what `qkv train` does."""

import numpy as np
import pytest
import torch

from benchmarks.recipe_training import RecipeTraining
from qkv.data.dataset import ImageDataset, ImageSplit
from qkv.progress import Silent
from qkv.runs import Run
from qkv.training.checkpoint import seed_initial_weights
from qkv.training.loop import Fit, TrainStep
from qkv.training.recipe import parse_recipe
from qkv.training.vision_task import VisionTask
from qkv.vision.classifier import Preprocessing
from qkv.vision.vit import ViT, ViTSettings

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


@pytest.fixture
def data():
    generator = np.random.default_rng(1)
    split = ImageSplit(
        store=generator.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8),
        rows=np.arange(40),
        labels=generator.integers(0, 3, 40),
    )
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
    fit = Fit(stepper, recipe.training, run=run, reporter=Silent())
    position = fit.train()

    training = RecipeTraining(recipe, data, device)
    for epoch in range(training.epochs):
        for batch in training.epoch_batches(epoch):
            training.step(batch)
        assert training.test_accuracy() == position.epochs[epoch]["test_accuracy"]

    assert training.model.state_dict().keys() == model.state_dict().keys()
    for name, weights in model.state_dict().items():
        assert torch.equal(training.model.state_dict()[name], weights), name
