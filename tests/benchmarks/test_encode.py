"""The baselines of text do what they are said to do; encoding is compared with theirs."""

import ast
import inspect
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import encode, plain_text
from benchmarks.encode import require_same_states, sampled_reviews
from benchmarks.plain_text import PlainEncoder, PlainGRU, PlainTextTraining, write_random_bert
from benchmarks.registry import run
from benchmarks.text_epoch import plain_head
from qkv.data import imdb
from qkv.errors import DataError, MissingExtraError, QKVError
from qkv.text.encoder import EncoderSettings
from qkv.text.heads import AttentionHeadSettings, GRUHeadSettings, build_head
from qkv.text.text_encoder import open_text_encoder
from small_reviews import small_imdb
from tiny_bert import tiny_bert

ATTENTION = AttentionHeadSettings(token_mlp_dim=12, num_queries=3, hidden_dim=8)
TEXTS = (
    "good film",
    "the worst story is a dull story and so is the book",
    "great",
    "a bad movie !",
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return PlainEncoder(tiny_bert(tmp_path_factory.mktemp("bert"), positions=600), CPU)


def test_gru_has_the_printed_number_of_parameters():
    assert sum(p.numel() for p in PlainGRU(768).parameters()) == 2_759_169


def test_gru_reads_the_last_states_of_both_directions():
    torch.manual_seed(0)
    head = PlainGRU(6).eval()
    states = torch.randn(3, 5, 6)
    every, _ = head.gru(states)
    forwards, backwards = every[:, -1, :256], every[:, 0, 256:]
    expected = torch.cat([forwards, backwards], dim=1) @ head.output.weight[0] + head.output.bias
    torch.testing.assert_close(head(states), expected)


def test_gru_drops_between_its_layers_and_before_the_output():
    head = PlainGRU(6)
    assert head.gru.dropout == 0.25
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.25]


def test_encoding_goes_in_data_order_by_128_padded_to_the_longest(encoder):
    texts = [*TEXTS, *["good"] * 126, TEXTS[1]]
    batches = list(encoder.encode(texts))
    lengths = [len(ids) for ids in encoder.token_ids(texts)]
    assert [len(states) for states, _ in batches] == [128, 3]
    assert [states.shape[1] for states, _ in batches] == [max(lengths[:128]), max(lengths[128:])]
    assert torch.cat([mask.sum(1) for _, mask in batches]).tolist() == lengths
    assert all(states.dtype == torch.float32 for states, _ in batches)


def test_the_mask_is_passed_while_encoding(encoder):
    alone = next(encoder.encode(TEXTS[:1]))[0][0]
    together = next(encoder.encode(TEXTS))[0][0, : len(alone)]
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_texts_are_cut_to_512_tokens(encoder):
    assert [len(ids) for ids in encoder.token_ids(["good " * 900])] == [512]
    assert next(encoder.encode(["good " * 900]))[0].shape[1] == 512


@pytest.mark.parametrize("settings", [ATTENTION, GRUHeadSettings()], ids=lambda s: s.kind)
def test_heads_and_their_gradients_agree_with_qkv(settings):
    torch.manual_seed(2)
    plain, ours = plain_head(settings, 6).eval(), build_head(settings, 6, 2).eval()
    plain.load_state_dict(ours.state_dict())
    states, labels = torch.randn(5, 7, 6), torch.tensor([0, 1, 1, 0, 1])
    theirs = plain(states)
    logits = ours(states, torch.ones(5, 7, dtype=torch.bool))
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], theirs, rtol=1e-5, atol=1e-6)

    F.binary_cross_entropy_with_logits(theirs, labels.float()).backward()
    F.cross_entropy(logits, labels).backward()
    expected = {name: p.grad for name, p in ours.named_parameters()}
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def test_attention_hides_the_recipes_share_of_tokens_but_never_the_first():
    torch.manual_seed(3)
    head = plain_head(ATTENTION.model_copy(update={"token_dropout": 0.5, "dropout": 0.0}), 6)
    states = torch.randn(1, 401, 6, requires_grad=True)
    seen = torch.zeros(401)
    for _ in range(4):
        (gradient,) = torch.autograd.grad(head.train()(states).sum(), states)
        reached = gradient[0].abs().sum(dim=1) > 0
        assert reached[0]
        seen += reached
    assert 0.4 < seen[1:].mean() / 4 < 0.6
    assert head.eval()(states) == head(states)


@pytest.mark.parametrize(
    "settings", [AttentionHeadSettings(), GRUHeadSettings()], ids=lambda settings: settings.kind
)
def test_a_step_trains_the_head_and_nothing_else(encoder, settings):
    torch.manual_seed(1)
    head = plain_head(settings, encoder.dim)
    training = PlainTextTraining(encoder, head, TEXTS, np.array([1, 0, 1, 0]), CPU)
    before = {name: p.clone() for name, p in encoder.model.named_parameters()}
    losses = [training.step(np.arange(4)) for _ in range(60)]
    assert min(losses) < 0.5 * losses[0]
    assert all(torch.equal(p, before[name]) for name, p in encoder.model.named_parameters())
    assert not encoder.model.training


def test_first_loss_is_the_binary_cross_entropy_of_the_labels(encoder):
    head = PlainGRU(encoder.dim)
    head.gru.dropout, head.dropout.p = 0.0, 0.0
    labels = np.array([1, 0, 0, 1])
    training = PlainTextTraining(encoder, head, TEXTS, labels, CPU)
    chosen = np.array([3, 1])
    right = torch.tensor([1.0, -1.0]) * training.logits(chosen).detach()
    assert training.step(chosen) == pytest.approx(float(-right.sigmoid().log().mean()), rel=1e-5)


def test_loading_leaves_the_progress_bars_of_transformers_as_they_were(tmp_path, capfd):
    from transformers.utils import logging

    folder = tiny_bert(tmp_path / "bert")
    was = logging.is_progress_bar_enabled()
    try:
        for enabled in (True, False):
            (logging.enable_progress_bar if enabled else logging.disable_progress_bar)()
            PlainEncoder(folder, CPU)
            assert logging.is_progress_bar_enabled() is enabled
    finally:
        (logging.enable_progress_bar if was else logging.disable_progress_bar)()
    assert capfd.readouterr() == ("", "")


def test_without_transformers_the_extra_is_named(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"qkv\[text\]"):
        PlainEncoder(tmp_path, CPU)


def test_it_imports_nothing_of_qkv_that_computes():
    tree = ast.parse(inspect.getsource(plain_text))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name.startswith("qkv")} == {
        "qkv.errors",
        "qkv.data.dataset",
    }


CPU = torch.device("cpu")
REVIEWS = small_imdb(6).train.texts


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
    agreement = require_same_states(*encoders, REVIEWS)
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
        require_same_states(plain, exact, timed, REVIEWS)


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
