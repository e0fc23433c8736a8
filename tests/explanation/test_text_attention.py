"""Attention of texts: that of transformers, by words, and the pooling head's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from tiny_text_models import (
    HEADS,
    LAYERS,
    LONG,
    TEXT,
    VARIANTS,
    WINDOWS,
    own_bert,
    tiny_classifier,
)

from qkv.errors import DataError, RecipeError, ShapeError
from qkv.explanation.text_attention import (
    attention_choices,
    attention_layers,
    encoder_attention,
    pool_weights,
    pooling_queries,
    text_attention,
)
from qkv.explanation.text_words import ReadText
from qkv.text.encoder import Encoder
from qkv.text.encoder.blocks import BLOCK_ROWS, Block
from qkv.text.encoder.trainable import StackedEncoder
from tolerance import atol

# Sums of up to about a hundred products, added in another order.
ROUNDING = atol(torch.float32, 100)

WINDOWS_OF_IDS = [
    np.random.default_rng(length).integers(4, 40, length).astype(np.int32) for length in (9, 1, 40)
]


def encoder_of(bert: Path, precision: str = "float32") -> Encoder:
    return tiny_classifier(bert, precision=precision).reading.encoder.encoder


def by_transformers(bert: Path, ids: np.ndarray) -> list[torch.Tensor]:
    """(heads, tokens, tokens) of each layer."""
    with torch.no_grad():
        answer: Any = own_bert(bert)(
            torch.from_numpy(ids.astype(np.int64))[None], output_attentions=True
        )
    return [layer[0] for layer in answer.attentions]


def test_every_layer_and_head_is_that_of_transformers(bert: Path) -> None:
    encoder = encoder_of(bert)
    expected = [by_transformers(bert, ids) for ids in WINDOWS_OF_IDS]
    for layer in range(1, LAYERS + 1):
        found = encoder.attention(WINDOWS_OF_IDS, layer)
        for number, weights in enumerate(found):
            assert weights.dtype == torch.float32
            torch.testing.assert_close(weights, expected[number][layer - 1], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(weights.sum(dim=2), torch.ones(weights.shape[:2]))
        for head in range(HEADS):
            for one, every in zip(
                encoder.attention(WINDOWS_OF_IDS, layer, head), found, strict=True
            ):
                torch.testing.assert_close(one[0], every[head], atol=ROUNDING, rtol=1e-5)
                assert len(one) == 1
    assert not torch.allclose(found[0][0], found[0][1], atol=0.05)


@pytest.mark.parametrize("unfrozen", [1, 2, "all"])
def test_so_is_that_of_trained_layers(bert: Path, unfrozen: Literal["all"] | int) -> None:
    classifier = tiny_classifier(bert, unfrozen=unfrozen)
    assert attention_layers(classifier) == (1, 2, 3)
    read = ReadText(classifier, TEXT)
    expected = by_transformers(bert, read.windows[0].input_ids)
    count = len(read.words_read)
    for layer in (1, 2, 3):
        for head in range(HEADS):
            found = encoder_attention(classifier, TEXT, layer, head)
            words = by_words(read, [expected[layer - 1][head].numpy()])
            # States below trained layers are rounded to float16.
            np.testing.assert_allclose(found, words, atol=5e-3)
            assert found.shape == (count, count)


def test_trained_layers_do_not_attend_to_padding(bert: Path) -> None:
    top = encoder_of(bert).top(2)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 7, 16, generator=generator)
    mask = torch.arange(7) < torch.tensor([7, 4])[:, None]
    for layer in (1, 2):
        whole, padded = top.attention(states, mask, layer, None)
        assert whole.shape == padded.shape == (HEADS, 7, 7)
        assert not padded[:, :, 4:].any()
        (alone,) = top.attention(states[1:, :4], mask[1:, :4], layer, None)
        torch.testing.assert_close(padded[:, :4, :4], alone, atol=ROUNDING, rtol=1e-5)
        torch.testing.assert_close(whole.sum(dim=2), torch.ones(HEADS, 7))


def test_trained_layers_show_their_own_attention(bert: Path) -> None:
    classifier = tiny_classifier(bert, unfrozen=1)
    before = [encoder_attention(classifier, TEXT, layer, None) for layer in (2, 3)]
    assert classifier.model.top is not None
    with torch.no_grad():
        for parameter in classifier.model.top.parameters():
            parameter.mul_(1.5)
    after = [encoder_attention(classifier, TEXT, layer, None) for layer in (2, 3)]
    np.testing.assert_array_equal(before[0], after[0])
    assert abs(before[1] - after[1]).max() > 0.01


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_states_do_not_change_by_being_watched(bert: Path, precision: str) -> None:
    encoder = encoder_of(bert, precision)
    before = encoder.packed_states(WINDOWS_OF_IDS, [1, 3])
    for layer in range(1, LAYERS + 1):
        encoder.attention(WINDOWS_OF_IDS, layer)
    assert torch.equal(encoder.packed_states(WINDOWS_OF_IDS, [1, 3]), before)


@pytest.mark.parametrize("by_size", [False, True])
def test_what_is_watched_is_what_is_computed(
    bert: Path, by_size: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 a block of another size would give other states, and other attention."""
    encoder = encoder_of(bert, "bfloat16")
    if by_size:
        encoder.compute_windows_by_size()
    blocks: list[tuple[int | None, list[int]]] = []
    original = StackedEncoder._embedded_packed

    def seen(self: StackedEncoder, windows: Any, device: torch.device, block: Block | None) -> Any:
        rows = None if block is None else block.rows
        blocks.append((rows, sorted(len(window) for window in windows)))
        return original(self, windows, device, block)

    monkeypatch.setattr(StackedEncoder, "_embedded_packed", seen)
    encoder.packed_states(WINDOWS_OF_IDS, [3])
    computed = list(blocks)
    blocks.clear()
    weights = encoder.attention(WINDOWS_OF_IDS, 3)
    assert blocks == computed
    assert {rows for rows, _ in blocks} == {64 if by_size else BLOCK_ROWS}
    assert [one.shape[1] for one in weights] == [len(ids) for ids in WINDOWS_OF_IDS]
    for ids, one in zip(WINDOWS_OF_IDS, weights, strict=True):
        expected = by_transformers(bert, ids)[2]
        torch.testing.assert_close(one, expected, atol=0.1, rtol=0)
        assert torch.equal(encoder.attention([ids], 3)[0], one)


def by_words(read: ReadText, weights: list[np.ndarray]) -> np.ndarray:
    """From pieces to words one by one: the mean over those of a row, the sum over a column's."""
    places = {word: number for number, word in enumerate(read.words_read.tolist())}
    total = np.zeros((len(places), len(places)))
    pieces = np.zeros(len(places))
    for window, weight in zip(read.windows, weights, strict=True):
        kept = range(len(window.words))[window.keep]
        for i in kept:
            if window.words[i] < 0:
                continue
            asking = places[int(window.words[i])]
            pieces[asking] += 1
            for j, word in enumerate(window.words.tolist()):
                if word >= 0:
                    total[asking, places[word]] += weight[i, j]
    return total / pieces[:, None]


def test_words_of_several_pieces(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[CLS] the k ##i ##w ##i . [SEP]."""
    classifier = tiny_classifier(bert)
    weights = torch.arange(64, dtype=torch.float32).reshape(1, 8, 8)
    monkeypatch.setattr(Encoder, "attention", lambda *_: [weights])
    found = encoder_attention(classifier, "the kiwi.", 1, 0)
    # Row i holds 8·i … 8·i + 7; "the" is token 1, "kiwi" 2 to 5, "." 6.
    the = [9, 10 + 11 + 12 + 13, 14]
    kiwi = [(17 + 25 + 33 + 41) / 4, (18 + 19 + 20 + 21) + 4 * (0 + 8 + 16 + 24) / 4, 22 + 12]
    stop = [49, 50 + 51 + 52 + 53, 54]
    np.testing.assert_allclose(found, [the, kiwi, stop])


@pytest.mark.parametrize(
    "truncation", [{"kind": "head"}, {"kind": "tail"}, WINDOWS], ids=lambda one: one["kind"]
)
def test_words_attend_within_their_windows(bert: Path, truncation: dict[str, Any]) -> None:
    classifier = tiny_classifier(bert, truncation=truncation)
    read = ReadText(classifier, LONG)
    expected = [by_transformers(bert, window.input_ids) for window in read.windows]
    for head in (0, 1, None):
        chosen = [
            (one[1].mean(dim=0) if head is None else one[1][head]).numpy() for one in expected
        ]
        found = encoder_attention(classifier, LONG, 2, head)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, by_words(read, chosen), atol=1e-5)
    sums = found.sum(axis=1)
    assert (sums < 1).all()
    assert (sums > 0.3).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_are_those_that_are_read(bert: Path, variant: str) -> None:
    classifier = tiny_classifier(bert, **{**VARIANTS[variant], "stacked": False})
    layers = attention_layers(classifier)
    assert layers == ((1, 2) if variant == "mean of layers" else (1, 2, 3))
    for layer in layers:
        weights = encoder_attention(classifier, TEXT, layer, None)
        assert (weights >= 0).all()
    with pytest.raises(RecipeError, match=f"reads no layer {layers[-1] + 1} of .*; name a layer"):
        encoder_attention(classifier, TEXT, layers[-1] + 1, None)
    with pytest.raises(RecipeError, match="reads no layer 0"):
        encoder_attention(classifier, TEXT, 0, None)


def test_what_there_is_not(bert: Path) -> None:
    classifier = tiny_classifier(bert)
    with pytest.raises(RecipeError, match="has no head 2; name a head from 0 to 1"):
        encoder_attention(classifier, TEXT, 1, 2)
    bottom = tiny_classifier(bert, layers=0)
    assert attention_layers(bottom) == ()
    with pytest.raises(RecipeError, match=r"reads the word embeddings of .*, and no layer"):
        encoder_attention(bottom, TEXT, 1, None)
    encoder = encoder_of(bert)
    for layer, head in ((0, None), (1, 2)):
        with pytest.raises(RecipeError, match=f"no attention of layer {layer}, head {head}"):
            encoder.attention(WINDOWS_OF_IDS, layer, head)
    with pytest.raises(ShapeError, match="41 tokens"):
        encoder.attention([np.zeros(41, dtype=np.int32)], 1)


def test_an_encoder_that_runs_as_a_whole(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = tiny_classifier(bert)
    encoder = classifier.reading.encoder.encoder
    monkeypatch.setattr(encoder, "packs", False)
    monkeypatch.setattr(encoder, "_stack", None)
    assert attention_layers(classifier) == ()
    with pytest.raises(RecipeError, match="runs as a whole and does not hand out its attention"):
        encoder_attention(classifier, TEXT, 1, None)
    with pytest.raises(RecipeError, match="runs as a whole and does not hand out its attention"):
        encoder.attention(WINDOWS_OF_IDS, 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_choice_can_be_shown(bert: Path, variant: str) -> None:
    classifier = tiny_classifier(bert, **VARIANTS[variant])
    choices = attention_choices(classifier)
    assert json.loads(json.dumps(choices)) == choices
    pools = VARIANTS[variant].get("head") is None
    assert choices == {
        "layers": [1, 2] if variant == "mean of layers" else [1, 2, 3],
        "heads": 2,
        "pool": pools,
        "pool_heads": 3 if pools else 0,
    }
    read = ReadText(classifier, LONG)
    words = tuple(read.words[number] for number in read.words_read)
    for layer in choices["layers"]:
        for head in (*range(2), None):
            found, weights = text_attention(classifier, LONG, layer, head)
            assert found == words
            assert weights.shape == (len(words), len(words))
            expected = encoder_attention(classifier, LONG, layer, head)
            np.testing.assert_array_equal(weights, expected)
    if not pools:
        with pytest.raises(RecipeError, match="pools without attention weights"):
            text_attention(classifier, LONG, "head")
        return
    for head in (*range(3), None):
        found, weights = text_attention(classifier, LONG, "head", head)
        assert (weights.dtype, weights.shape) == (np.float32, (1, len(words)))
        expected = pool_weights(classifier, read, head)[read.words_read].astype(np.float32)
        np.testing.assert_array_equal(weights[0], expected)
        assert found == words


def test_an_encoder_read_at_its_embeddings_shows_its_pool_alone(bert: Path) -> None:
    classifier = tiny_classifier(bert, layers=0)
    choices = attention_choices(classifier)
    assert choices == {"layers": [], "heads": 0, "pool": True, "pool_heads": 3}
    assert text_attention(classifier, TEXT, "head")[1].shape == (1, 12)


def test_what_cannot_be_shown(bert: Path) -> None:
    classifier = tiny_classifier(bert)
    with pytest.raises(RecipeError, match="reads no layer 4"):
        text_attention(classifier, TEXT, 4)
    with pytest.raises(RecipeError, match="has no head 5"):
        text_attention(classifier, TEXT, 1, 5)
    with pytest.raises(RecipeError, match="no query 3"):
        text_attention(classifier, TEXT, "head", 3)
    with pytest.raises(DataError, match="the text is empty"):
        text_attention(classifier, "\t", 1)


@pytest.mark.parametrize(
    "variant", [name for name in VARIANTS if VARIANTS[name].get("head") is None]
)
@pytest.mark.parametrize("num_heads", [1, 2])
def test_they_are_the_head_s_own(bert: Path, variant: str, num_heads: int) -> None:
    classifier = tiny_classifier(
        bert, **{**VARIANTS[variant], "stacked": False}, num_heads=num_heads
    )
    assert pooling_queries(classifier) == 3 * num_heads
    read = ReadText(classifier, LONG)
    states, mask = read.states()
    named = classifier.model.head.forward_with_intermediates(states, mask)[1]  # type: ignore[operator]
    expected = named["pool_weights"][0].reshape(3 * num_heads, -1).detach().numpy()
    every = []
    for head in range(3 * num_heads):
        found = pool_weights(classifier, read, head)
        assert (found.dtype, found.shape) == (np.float64, (len(read.words),))
        by_hand = np.zeros(len(read.words))
        special = 0.0
        for weight, word in zip(expected[head], read.words_of_states, strict=True):
            if word < 0:
                special += weight
            else:
                by_hand[word] += weight
        np.testing.assert_allclose(found, by_hand, atol=ROUNDING)
        # Special tokens take the rest.
        assert found.sum() + special == pytest.approx(1, abs=1e-5)
        assert found.min() >= 0
        every.append(found)
    mean = pool_weights(classifier, read)
    np.testing.assert_allclose(mean, np.mean(every, axis=0), atol=ROUNDING)
    assert np.ptp(every, axis=0).max() > 0.01
    unread = np.setdiff1d(np.arange(len(read.words)), read.words_read)
    assert not mean[unread].any()


def test_queries_that_there_are_not(bert: Path) -> None:
    classifier = tiny_classifier(bert)
    for head in (-1, 3):
        with pytest.raises(RecipeError, match=f"no query {head}; name 0 to 2"):
            pool_weights(classifier, ReadText(classifier, TEXT), head)
    for kind, called in (("gru", "GRUHead"), ("mean", "MeanHead")):
        other = tiny_classifier(bert, head=kind)
        assert pooling_queries(other) == 0
        with pytest.raises(RecipeError, match=f"a {called} pools without attention weights"):
            pool_weights(other, ReadText(other, TEXT))
