import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmarks import run, text_epoch
from benchmarks.plain_text import PlainEncoder, PlainTextTraining
from benchmarks.text_epoch import (
    RECIPES,
    TextRecipeTraining,
    batches_at_quantiles,
    plain_head,
    recipe_of,
    require_same_logits,
)
from qkv.data import imdb
from qkv.errors import DataError, QKVError
from qkv.progress import Reporter
from qkv.text.encoder import EncoderSettings
from qkv.text.text_encoder import open_text_encoder
from qkv.training.loop import TrainStep
from qkv.training.recipe import load_recipe
from qkv.training.text_task import build_text_task
from small_reviews import small_imdb
from tiny_bert import tiny_bert

CPU = torch.device("cpu")
SAMPLE = small_imdb(12).train
INDICES = np.array([7, 0, 3, 11])


@pytest.fixture
def reviews(monkeypatch):
    monkeypatch.setattr(imdb, "load", lambda *_args, **_named: small_imdb(60))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"), positions=512)


@pytest.fixture(params=RECIPES)
def trainings(request, bert, tmp_path):
    head = request.param
    recipe = recipe_of(head)
    settings = EncoderSettings(name=str(bert))
    exact = open_text_encoder(settings.model_copy(update={"precision": "float32"}), device=CPU)
    encoder = open_text_encoder(settings, device=CPU)
    qkv = TextRecipeTraining(recipe, encoder, SAMPLE, 2, CPU, tmp_path)
    plain = PlainTextTraining(
        PlainEncoder(bert, CPU),
        plain_head(recipe.head, encoder.dim),
        SAMPLE.texts,
        SAMPLE.labels,
        CPU,
    )
    return head, plain, qkv, exact


def test_document(reviews, capfd):
    told = []
    document = run("text-epoch", quick=True, progress=lambda *counts: told.append(counts))
    assert document.keys() == {"case", "ratios", "figures", "machine"}
    assert document["ratios"].keys() == {"attention", "gru"}
    figures = document["figures"]
    assert figures["epoch_texts"] == 12
    assert figures["sample_texts"] == 4
    assert figures["scale"] == figures["epoch_tokens"] / figures["sample_tokens"] > 1
    assert figures["encoding_once_epoch_seconds"] == pytest.approx(
        figures["scale"] * figures["encoding_once_sample_seconds"]
    )
    assert figures["encoding_once_sample_seconds"] > 0
    for head, ratio in document["ratios"].items():
        case = figures[head]
        assert ratio == pytest.approx(case["plain_sample_seconds"] / case["qkv_sample_seconds"])
        for who in ("plain", "qkv"):
            assert case[f"{who}_sample_seconds"] == pytest.approx(
                sum(batch[f"{who}_seconds"] for batch in case["batches"])
            )
            assert case[f"{who}_epoch_seconds"] == pytest.approx(
                figures["scale"] * case[f"{who}_sample_seconds"]
            )
        assert sum(batch["tokens"] for batch in case["batches"]) == figures["sample_tokens"]
        assert sum(batch["texts"] for batch in case["batches"]) == figures["sample_texts"]
        assert case["agreement"]["float32_difference"] <= 1e-5
        assert case["precision"]["plain"] == "float32"
    # 2 × (384 + 256 + 2) · 3 · 256 weights and biases, then of 512 inputs, and the output's 513.
    assert figures["gru"]["parameters"] == 2 * 768 * (384 + 256 + 2 + 512 + 256 + 2) + 513
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert capfd.readouterr() == ("", "")
    json.dumps(document, allow_nan=False)


def test_the_users_states_are_neither_used_nor_added_to(reviews, monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("the cache's states")

    monkeypatch.setattr("qkv.text.encoder_cache.cache_root", never)
    text_epoch.measure(quick=True)


def test_gate_opens_for_the_same_head(trainings):
    head, plain, qkv, exact = trainings
    before = {name: p.clone() for name, p in plain.head.named_parameters()}
    agreement = require_same_logits(head, plain, qkv, exact, SAMPLE, INDICES)
    assert agreement["float32_difference"] <= 1e-5
    assert 0 < agreement["timed_relative_difference"] <= 0.25
    # It compared qkv's weights, not two random starts that happen to agree.
    assert any(not torch.equal(p, before[name]) for name, p in plain.head.named_parameters())


@pytest.mark.parametrize("fault", ["head", "encoder", "order", "stored", "not a number"])
def test_gate_trips(trainings, fault):
    head, plain, qkv, exact = trainings
    if fault == "head":
        output = plain.head.output
        plain.head.output = nn.Sequential(output, nn.Tanh())
        plain.head.load_state_dict = lambda weights: output.load_state_dict(
            {name: 3 * weights[f"output.{name}"] for name in ("weight", "bias")}
        )
    elif fault == "encoder":
        plain.encoder.model.embeddings.word_embeddings.weight.mul_(1.3)
    elif fault == "order":
        plain._ids.reverse()
    elif fault == "stored":
        read = qkv.logits
        qkv.logits = lambda indices: read(np.roll(indices, 1))
    else:
        plain.encoder.model.embeddings.word_embeddings.weight.mul_(float("nan"))
    with pytest.raises(QKVError, match=f"plain {head} head"):
        require_same_logits(head, plain, qkv, exact, SAMPLE, INDICES)


def test_nothing_is_timed_behind_a_shut_gate(monkeypatch, reviews):
    def never(*_args, **_kwargs):
        raise AssertionError("timed")

    monkeypatch.setattr(text_epoch, "FLOAT32_TOLERANCE", -1.0)
    monkeypatch.setattr(text_epoch, "interleaved", never)
    with pytest.raises(QKVError):
        text_epoch.measure(quick=True)


@pytest.mark.parametrize("head", RECIPES)
def test_recipes_are_the_projects_but_for_what_is_read(head):
    recipe = recipe_of(head)
    assert recipe.head.kind == head
    assert recipe.encoder.name == EncoderSettings().name
    assert recipe.encoder.layers == "last"
    assert recipe.encoder.truncation.kind == "head"
    assert recipe.unfreeze_layers == 0
    assert recipe.training.precision == "auto"


def test_without_imdb_the_loader_says_so(monkeypatch):
    def nowhere(*_args, **_named):
        raise DataError("IMDB is nowhere", remedy="fetch it")

    monkeypatch.setattr(imdb, "load", nowhere)
    with pytest.raises(DataError, match="IMDB is nowhere"):
        text_epoch.measure(quick=True)


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
    task, _ = build_text_task(recipe, data, CPU, Reporter())
    stepper = TrainStep(task, recipe.training, seed=recipe.seed, device=CPU)

    encoder = open_text_encoder(recipe.encoder, device=CPU)
    training = TextRecipeTraining(recipe, encoder, data.train, 2, CPU, tmp_path / "states")
    batches = [batch for epoch in range(2) for batch in stepper.epoch_batches(epoch)]
    assert len(batches) > 4
    for number, batch in enumerate(batches):
        assert training.step(batch) == float(stepper.step(batch, number).loss)
    for name, weights in task.model.state_dict().items():
        assert torch.equal(training.model.state_dict()[name], weights), name


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


def test_states_that_are_there_are_not_encoded_again(tmp_path, monkeypatch):
    recipe = recipe_with(tiny_bert(tmp_path / "bert"))
    encoder = open_text_encoder(recipe.encoder, device=CPU)
    texts = small_imdb(12).train
    TextRecipeTraining(recipe, encoder, texts, 2, CPU, tmp_path / "states")

    def never(*_args, **_kwargs):
        raise AssertionError("encoded again")

    monkeypatch.setattr(encoder, "encode", never)
    again = TextRecipeTraining(recipe, encoder, texts, 2, CPU, tmp_path / "states")
    assert np.isfinite(again.step(np.arange(12)))
    assert not (tmp_path / "cache").exists()


def test_batches_are_the_middle_ones_of_equal_shares():
    # 14 full batches of two, lengths falling, so that the sorting shows.
    lengths = np.arange(29)[::-1].copy()
    drawn = batches_at_quantiles(lengths, 2, 3)
    assert [sorted(lengths[batch]) for batch in drawn] == [[4, 5], [14, 15], [22, 23]]


@given(
    lengths=st.lists(st.integers(2, 512), min_size=12, max_size=80),
    batch_size=st.integers(1, 4),
    count=st.integers(1, 3),
)
def test_drawn_batches_are_disjoint_and_alike_in_length(lengths, batch_size, count):
    lengths = np.array(lengths)
    drawn = batches_at_quantiles(lengths, batch_size, count)
    together = np.concatenate(drawn)
    assert [len(batch) for batch in drawn] == [batch_size] * count
    assert len(set(together.tolist())) == len(together)
    assert (np.diff(lengths[together]) >= 0).all()
    for batch in drawn:
        low, high = lengths[batch].min(), lengths[batch].max()
        # Texts strictly in between would have been in the batch instead.
        between = np.flatnonzero((lengths > low) & (lengths < high))
        assert set(between.tolist()) <= set(batch.tolist())


def test_tokens_of_the_sample_stand_for_those_of_the_whole():
    lengths = np.minimum(np.random.default_rng(0).lognormal(5.4, 0.6, 17_500), 512).astype(np.int64)
    drawn = np.concatenate(batches_at_quantiles(lengths, 128, 5))
    assert lengths[drawn].mean() == pytest.approx(lengths.mean(), rel=0.05)


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match="5 texts make 2 batches of 2, not 3"):
        batches_at_quantiles(np.arange(5), 2, 3)
