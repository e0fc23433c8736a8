import json
from types import SimpleNamespace

import pytest
import torch

from benchmarks import encode
from benchmarks.encode import require_same_states, sampled_reviews
from benchmarks.plain_text import PlainEncoder, write_random_bert
from benchmarks.registry import run
from qkv.data import imdb
from qkv.errors import DataError, QKVError
from qkv.text.encoder import EncoderSettings
from qkv.text.text_encoder import open_text_encoder
from small_imdb import small_imdb
from tiny_bert import tiny_bert

CPU = torch.device("cpu")
TEXTS = small_imdb(6).train.texts


@pytest.fixture
def reviews(monkeypatch):
    monkeypatch.setattr(imdb, "load", small_imdb)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tiny_bert(tmp_path_factory.mktemp("bert"), positions=512)

    def opened(precision):
        return open_text_encoder(EncoderSettings(name=str(folder), precision=precision), device=CPU)

    return PlainEncoder(folder, CPU), opened("float32"), opened("bfloat16")


def test_document(reviews, capfd):
    told = []
    document = run("encode", quick=True, progress=lambda *counts: told.append(counts))
    assert document.keys() == {"case", "ratios", "figures", "machine"}
    assert document["ratios"].keys() == {"minilm", "bert_base"}
    figures = document["figures"]
    for name, ratio in document["ratios"].items():
        case = figures[name]
        assert ratio == case["quartiles_ratio"][1] > 0
        for who in ("plain", "qkv"):
            low, median, high = case["quartiles_tokens_per_second"][who]
            assert 0 < low <= median == case[f"{who}_tokens_per_second"] <= high
        assert case["tokens"] <= case["plain_padded_tokens"]
        assert case["agreement"]["float32_difference"] <= 1e-4
        assert case["agreement"]["least_cosine"] >= 0.995
        assert case["precision"]["plain"] == "float32"
    assert figures["minilm"]["tokens"] == figures["bert_base"]["tokens"]
    assert figures["minilm"]["parameters"] > 22_000_000
    assert told == [(1, 2), (2, 2)]
    # Nothing of transformers was written between.
    assert capfd.readouterr() == ("", "")
    json.dumps(document, allow_nan=False)


def test_padding_is_counted_by_batches_of_128():
    assert encode._padded([3, 5, *[2] * 126, 7, 1]) == 128 * 5 + 2 * 7


def test_gate_opens_for_the_same_states(encoders):
    agreement = require_same_states(*encoders, TEXTS)
    assert 0 <= agreement["float32_difference"] <= 1e-4
    # Bfloat16 has been at work.
    assert 0.995 <= agreement["least_cosine"] < 0.999999


@pytest.mark.parametrize("fault", ["float32", "timed", "not a number", "other texts"])
def test_gate_trips(encoders, fault, monkeypatch):
    plain, exact, timed = encoders
    other = {
        "float32": lambda states: states + 2e-4,
        "timed": lambda states: states.roll(1, dims=-1),
        "not a number": lambda states: states * float("nan"),
        "other texts": lambda states: states[1:],
    }[fault]

    def changed(encoder):
        return SimpleNamespace(
            prepare=encoder.prepare,
            encode=lambda prepared: (
                (index, other(states.float())) for index, states in encoder.encode(prepared)
            ),
        )

    if fault == "timed":
        timed = changed(timed)
    else:
        exact = changed(exact)
    with pytest.raises(QKVError, match="plain pipeline"):
        require_same_states(plain, exact, timed, TEXTS)


def test_nothing_is_timed_behind_a_shut_gate(monkeypatch, reviews):
    def never(*_args, **_kwargs):
        raise AssertionError("timed")

    monkeypatch.setattr(encode, "FLOAT32_TOLERANCE", -1.0)
    monkeypatch.setattr(encode, "interleaved", never)
    with pytest.raises(QKVError):
        encode.measure(quick=True)


def test_sample_is_the_same_every_time_and_not_the_first_reviews(reviews):
    sample = sampled_reviews(10)
    assert sample.texts == sampled_reviews(20).texts[:10]
    assert set(sample.texts) != set(small_imdb().train.texts[:10])
    assert len(set(sample.texts)) == 10


def test_without_imdb_the_loader_says_so(monkeypatch):
    def nowhere():
        raise DataError("IMDB is nowhere", remedy="fetch it")

    monkeypatch.setattr(imdb, "load", nowhere)
    with pytest.raises(DataError, match="IMDB is nowhere"):
        encode.measure(quick=True)


def test_bert_base_has_the_true_number_of_parameters():
    from transformers import BertConfig, BertModel

    # What `write_random_bert` makes without changes.
    with torch.device("meta"):
        model = BertModel(BertConfig())
    assert sum(p.numel() for p in model.parameters()) == 109_482_240


def test_random_weights_are_those_of_the_seed(tmp_path):
    from safetensors.torch import load_file

    tokenizer = tiny_bert(tmp_path / "tiny")
    small = {"num_hidden_layers": 1, "hidden_size": 24, "intermediate_size": 8}
    before = torch.random.get_rng_state()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_random_bert(tmp_path / name, tokenizer, small)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (tmp_path / "one" / "vocab.txt").read_bytes() == (tokenizer / "vocab.txt").read_bytes()
