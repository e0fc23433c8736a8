import json

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import same_logits, text_epoch
from benchmarks.plain_text import PlainEncoder, PlainTextTraining
from benchmarks.registry import run
from benchmarks.same_logits import require_same_logits
from benchmarks.text_epoch import RECIPES, plain_head, recipe_of
from benchmarks.text_recipe_training import TextRecipeTraining
from qkv.data import imdb
from qkv.errors import DataError, QKVError
from qkv.text.encoder import EncoderSettings
from qkv.text.text_encoder import open_text_encoder
from small_imdb import small_imdb
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
def contestants(request, bert, tmp_path):
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
    yield head, plain, qkv, exact
    qkv.close()


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


def test_gate_opens_for_the_same_head(contestants):
    head, plain, qkv, exact = contestants
    before = {name: p.clone() for name, p in plain.head.named_parameters()}
    agreement = require_same_logits(head, plain, qkv, exact, SAMPLE, INDICES)
    assert agreement["float32_difference"] <= 1e-5
    assert 0 < agreement["timed_relative_difference"] <= 0.25
    # It compared qkv's weights, not two random starts that happen to agree.
    assert any(not torch.equal(p, before[name]) for name, p in plain.head.named_parameters())


@pytest.mark.parametrize("fault", ["head", "encoder", "order", "stored", "not a number"])
def test_gate_trips(contestants, fault):
    head, plain, qkv, exact = contestants
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

    monkeypatch.setattr(same_logits, "FLOAT32_TOLERANCE", -1.0)
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
