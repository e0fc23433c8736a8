"""Texts to states: the same as each window alone, joined, whatever else is encoded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_encoders import hidden_states, save_tiny_encoder

from qkv.errors import RecipeError
from qkv.text import text_encoder
from qkv.text.encoder import EncoderSettings, locate_encoder
from qkv.text.model import held_ids
from qkv.text.text_encoder import TextEncoder, open_text_encoder, token_budget_batches
from qkv.text.windows import Cut, TruncationSettings, cut

CPU = torch.device("cpu")
TEXTS = [
    "good film",
    "",
    "the bad film " * 30,
    "b a d " * 17,
    "good",
    "the film the film the film the film",
    "good film",
    "x y z " * 40,
]
WAYS: list[dict[str, Any]] = [
    {"kind": "head"},
    {"kind": "tail", "max_tokens": 20},
    {"kind": "head+tail", "head_tokens": 5},
    {"kind": "windows", "overlap_tokens": 7},
    {"kind": "windows", "overlap_tokens": 30, "max_windows": 3},
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders") / "tiny"
    save_tiny_encoder(folder)
    return folder


def opened(folder: Path | str, *, below: Any = 0, **settings: Any) -> TextEncoder:
    parsed = EncoderSettings.parse(
        {"name": str(folder), "precision": "float32", **settings}, where="test"
    )
    return open_text_encoder(parsed, device=CPU, below=below)


def states_of(encoder: TextEncoder, texts: Sequence[str]) -> list[torch.Tensor]:
    """In the order of the texts; each must come once."""
    found: dict[int, torch.Tensor] = {}
    for index, states in encoder.encode(encoder.prepare(texts)):
        assert index not in found
        found[index] = states
    assert sorted(found) == list(range(len(texts)))
    return [found[index] for index in range(len(texts))]


def one_by_one(encoder: TextEncoder, text: str) -> torch.Tensor:
    """The states of a text as they are defined: every window on its own, what is kept joined."""
    tokenizer = encoder.tokenizer
    (pieces,) = tokenizer.encode([text])
    windows = cut(
        pieces,
        encoder.settings.truncation,
        positions=encoder.encoder.positions,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
    )
    kept = []
    for window in windows:
        ids = torch.from_numpy(window.input_ids).long()[None]
        states = hidden_states(encoder.encoder, ids, torch.ones_like(ids).bool(), encoder.layers)
        kept.append(states[0, window.keep])
    return torch.cat(kept)


@pytest.mark.parametrize("truncation", WAYS)
@pytest.mark.parametrize("group_tokens", [1, 100, 65_536])
def test_states_are_those_of_each_window_alone(
    tiny: Path, truncation: dict[str, Any], group_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_encoder, "GROUP_TOKENS", group_tokens)
    encoder = opened(tiny, truncation=truncation, batch_tokens=64)
    prepared = encoder.prepare(TEXTS)
    for number, states in enumerate(states_of(encoder, TEXTS)):
        expected = one_by_one(encoder, TEXTS[number])
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
        assert prepared.rows[number] == len(expected)


@pytest.mark.parametrize("kind", ["mpnet", "roberta"])
def test_other_kinds_of_encoder(tmp_path: Path, kind: str) -> None:
    save_tiny_encoder(tmp_path, kind, vocab_size=97)
    encoder = opened(tmp_path, truncation={"kind": "windows", "overlap_tokens": 7}, batch_tokens=90)
    for number, states in enumerate(states_of(encoder, TEXTS)):
        expected = one_by_one(encoder, TEXTS[number])
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


def test_a_whole_text_in_windows_has_a_state_for_every_piece(tiny: Path) -> None:
    encoder = opened(tiny, truncation={"kind": "windows", "overlap_tokens": 7, "max_windows": 99})
    prepared = encoder.prepare(TEXTS)
    assert prepared.cut == Cut(0, 0)
    assert prepared.rows.tolist() == (prepared.pieces + 2).tolist()
    assert prepared.tokens > prepared.rows.sum()


def test_what_is_prepared(tiny: Path) -> None:
    encoder = opened(tiny)
    prepared = encoder.prepare(TEXTS)
    assert prepared.pieces.tolist() == [2, 0, 90, 51, 1, 8, 2, 120]
    assert prepared.rows.tolist() == [4, 2, 40, 40, 3, 10, 4, 40]
    assert prepared.cut == Cut(texts=3, tokens=(90 - 38) + (51 - 38) + (120 - 38))
    assert prepared.tokens == prepared.rows.sum()
    assert prepared.ids.dtype == np.int32


def test_empty_and_no_texts(tiny: Path) -> None:
    encoder = opened(tiny)
    assert states_of(encoder, []) == []
    assert encoder.prepare([]).tokens == 0
    assert states_of(encoder, ["", " \n"])[1].shape == (2, 24)


def test_progress_counts_tokens_up_to_all(tiny: Path) -> None:
    encoder = opened(tiny, truncation={"kind": "windows", "overlap_tokens": 7}, batch_tokens=64)
    prepared = encoder.prepare(TEXTS)
    told: list[tuple[int, int]] = []
    for _ in encoder.encode(prepared, progress=lambda *numbers: told.append(numbers)):
        pass
    assert len(told) > 3
    assert told == sorted(told)
    assert told[-1] == (prepared.tokens, prepared.tokens)


def test_an_interrupt_ends_between_batches(tiny: Path) -> None:
    encoder = opened(tiny, batch_tokens=64)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(encoder.encode(encoder.prepare(TEXTS), progress=stop))
    assert len(states_of(encoder, TEXTS)) == len(TEXTS)


def test_few_texts_are_in_work_at_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder, "GROUP_TOKENS", 50)
    encoder = opened(tiny, truncation={"kind": "windows", "overlap_tokens": 7})
    texts = ["the film " * 30] * 20
    computed = 0

    def count(done: int, total: int) -> None:
        nonlocal computed
        computed = done

    prepared = encoder.prepare(texts)
    for number, _ in enumerate(encoder.encode(prepared, progress=count)):
        assert computed == prepared.tokens // 20 * (number + 1)


def test_states_can_be_trained_upon(tiny: Path) -> None:
    (states,) = states_of(opened(tiny), ["good film"])
    weight = torch.ones(24, requires_grad=True)
    (states @ weight).sum().backward()
    assert weight.grad is not None


def test_layers_as_asked_for(tiny: Path) -> None:
    mean, first, last = (
        states_of(opened(tiny, layers=layers), ["bad film"])[0] for layers in ([1, 3], 1, "last")
    )
    torch.testing.assert_close(mean, (first + last) / 2)
    with pytest.raises(RecipeError, match="has layers 0 to 3"):
        opened(tiny, layers=4)


def test_what_enters_the_layers_that_are_trained(tiny: Path) -> None:
    assert opened(tiny, below=2).layers == [1]
    assert opened(tiny, below=3).layers == [0]
    assert opened(tiny, below="all").layers == [3]
    states = states_of(opened(tiny, below=2), ["bad film"])[0]
    assert torch.equal(states, states_of(opened(tiny, layers=1), ["bad film"])[0])
    for wrong in (4, -1):
        with pytest.raises(
            RecipeError,
            match=f"unfreeze_layers is {wrong}, but .* has 3 layers; set it to 3 or less",
        ):
            opened(tiny, below=wrong)


def test_layers_that_do_not_stand_alone_cannot_be_left_out(tmp_path: Path) -> None:
    save_tiny_encoder(tmp_path, "mpnet")
    with pytest.raises(RecipeError, match="do not stand alone; set it to 'all' or 0"):
        opened(tmp_path, below=1)
    assert opened(tmp_path, below="all").layers == [3]


def test_tokens_for_a_whole_encoder(tiny: Path) -> None:
    encoder = opened(tiny, below="all")
    held = held_ids(encoder, encoder.prepare(TEXTS))
    assert held.lengths.tolist() == encoder.prepare(TEXTS).rows.tolist()
    ids, mask = held.padded(np.array([0]))
    assert mask.all()
    assert ids[0].tolist() == [2, *encoder.tokenizer.encode(["good film"])[0], 3]
    in_windows = opened(tiny, truncation={"kind": "windows", "overlap_tokens": 7})
    with pytest.raises(RecipeError, match="overlapping windows"):
        held_ids(in_windows, in_windows.prepare(TEXTS))


def test_truncation_that_does_not_fit_is_refused_before_anything_is_read(tiny: Path) -> None:
    with pytest.raises(RecipeError, match="overlap_tokens is 128"):
        opened(tiny, truncation={"kind": "windows"})


def test_facts_are_json_and_hold_all_that_matters(tiny: Path) -> None:
    plain = opened(tiny)
    assert json.loads(json.dumps(plain.facts)) == plain.facts
    assert set(plain.identity) < set(plain.facts)
    assert plain.facts["name"] == "tiny"
    assert plain.facts["layers"] == [3]
    assert plain.facts["precision"] == "float32"
    for other in (
        opened(tiny, layers=2),
        opened(tiny, truncation={"kind": "tail"}),
        opened(tiny, precision="bfloat16"),
    ):
        assert other.facts != plain.facts
        assert other.identity == plain.identity
    # Neither the way it is named nor the batch determines a state.
    assert opened(tiny / ".." / "tiny", batch_tokens=7, layers=[3]).facts == plain.facts


@cache
def minilm(precision: str) -> TextEncoder:
    settings = EncoderSettings.parse({"precision": precision}, where="test")
    return open_text_encoder(settings, device=CPU)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_answers_do_not_depend_on_the_batch(precision: str) -> None:
    encoder = minilm(precision)
    assert encoder.facts["weights_sha256"] == locate_encoder("all-MiniLM-L6-v2").weights_sha256
    # Many processors emulate bfloat16, at a fortieth of the speed.
    times = 30 if precision == "float32" else 4
    texts = ["Avengers was great!!", "Justice League is terrible. I hated it. " * times, "So so."]
    together = states_of(encoder, texts)
    for text, states in zip(texts, together, strict=True):
        (alone,) = states_of(encoder, [text])
        # A head that is far steeper than a trained one.
        directions = torch.randn(384, 50, generator=torch.Generator().manual_seed(1))
        probabilities = [(s.float().mean(0) @ directions).sigmoid() for s in (states, alone)]
        torch.testing.assert_close(*probabilities, atol=1e-5, rtol=0)
        if precision == "bfloat16":
            assert torch.equal(states, alone)


def test_defaults_are_those_of_the_settings() -> None:
    assert EncoderSettings().truncation == TruncationSettings(kind="head")
    assert EncoderSettings().name == "all-MiniLM-L6-v2"


# Every index in one batch, batches within the budget, and as few as neighbours allow.

LENGTHS = st.lists(st.integers(0, 50), max_size=60)


def batches_of(lengths: list[int], budget: int) -> list[list[int]]:
    return [b.tolist() for b in token_budget_batches(np.array(lengths, dtype=np.int64), budget)]


def test_a_case_by_hand() -> None:
    # Sorted: 2, 3, 3, 5, 11. Three of length 3 fit in 10; with the 5 it would be 20.
    assert batches_of([3, 11, 2, 5, 3], 10) == [[2, 0, 4], [3], [1]]


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_every_index_is_in_one_batch_and_lengths_grow(lengths: list[int], budget: int) -> None:
    flat = [index for batch in batches_of(lengths, budget) for index in batch]
    assert flat == sorted(range(len(lengths)), key=lambda index: lengths[index])


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_only_a_text_alone_exceeds_the_budget(lengths: list[int], budget: int) -> None:
    for batch in batches_of(lengths, budget):
        size = len(batch) * max(lengths[index] for index in batch)
        assert batch
        assert size <= budget or len(batch) == 1


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_no_batch_could_have_taken_the_next_text(lengths: list[int], budget: int) -> None:
    batches = batches_of(lengths, budget)
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * lengths[following[0]] > budget


def test_no_texts_give_no_batches() -> None:
    assert batches_of([], 10) == []
