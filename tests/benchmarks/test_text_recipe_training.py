"""What a benchmark times must be what `qkv train` does."""

import numpy as np
import pytest
import torch

from benchmarks.text_recipe_training import TextRecipeTraining
from qkv.progress import Silent
from qkv.text.text_encoder import open_text_encoder
from qkv.training.loop import TrainStep
from qkv.training.recipe import load_recipe
from qkv.training.text_task import build_text_task
from small_imdb import small_imdb
from tiny_bert import tiny_bert

CPU = torch.device("cpu")


def recipe_with(bert, *changes):
    changes = ("encoder.layers=2", "encoder.truncation.overlap_tokens=8", *changes)
    return load_recipe("imdb", "fast", [f"encoder.name={bert}", *changes])


@pytest.mark.parametrize(
    "changes",
    [
        ["training.batch_tokens=200", "training.epochs=2", "states=int8"],
        [
            'head={kind = "gru", hidden_size = 6}',
            "training.batch_by=texts",
            "training.batch_size=7",
        ],
    ],
    ids=["attention", "gru"],
)
def test_same_weights_as_the_projects_training(tmp_path, changes):
    recipe = recipe_with(tiny_bert(tmp_path / "bert"), "training.precision=float32", *changes)
    data = small_imdb(30)
    task, _ = build_text_task(recipe, data, CPU, Silent())
    stepper = TrainStep(task, recipe.training, seed=recipe.seed, device=CPU)

    encoder = open_text_encoder(recipe.encoder, device=CPU)
    training = TextRecipeTraining(recipe, encoder, data.train, 2, CPU, tmp_path / "states")
    batches = [batch for epoch in range(2) for batch in stepper.epoch_batches(epoch)]
    assert len(batches) > 4
    for number, batch in enumerate(batches):
        assert training.step(batch) == float(stepper.step(batch, number).loss)
    for name, weights in task.model.state_dict().items():
        assert torch.equal(training.model.state_dict()[name], weights), name
    training.close()


def test_texts_are_cut_into_the_recipes_batches(tmp_path):
    recipe = recipe_with(tiny_bert(tmp_path / "bert"), "training.batch_tokens=200")
    encoder = open_text_encoder(recipe.encoder, device=CPU)
    data = small_imdb(30)
    training = TextRecipeTraining(recipe, encoder, data.train, 2, CPU, tmp_path / "states")
    rows = encoder.prepare(data.train.texts).rows
    few = np.array([3, 14, 15, 9, 2, 6, 5])
    batches = training.batches_of(few)
    assert sorted(np.concatenate(batches)) == sorted(few)
    assert all(len(batch) == 1 or len(batch) * rows[batch].max() <= 200 for batch in batches)
    training.close()


def test_states_that_are_there_are_not_encoded_again(tmp_path, monkeypatch):
    recipe = recipe_with(tiny_bert(tmp_path / "bert"))
    encoder = open_text_encoder(recipe.encoder, device=CPU)
    texts = small_imdb(12).train
    TextRecipeTraining(recipe, encoder, texts, 2, CPU, tmp_path / "states").close()

    def never(*_args, **_kwargs):
        raise AssertionError("encoded again")

    monkeypatch.setattr(encoder, "encode", never)
    again = TextRecipeTraining(recipe, encoder, texts, 2, CPU, tmp_path / "states")
    assert np.isfinite(again.step(np.arange(12)))
    assert not (tmp_path / "cache").exists()
    again.close()
