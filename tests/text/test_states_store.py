"""A store of states: filled once, found by content, whole whatever happens to the filling."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from known_states import KnownStates, PreparedWords
from qkv.errors import DataError
from qkv.text.states import Kind, StatesStore, open_store

TEXTS = ["one two three", "", "a b c d e f g", "lone \ud800 surrogate", "one two three", "ünï"]


def store_of(
    root: Path,
    encoder: KnownStates | None = None,
    *,
    kind: Kind = "float16",
    segment_bytes: int = 60,
    notes: list[str] | None = None,
) -> StatesStore:
    encoder = encoder or KnownStates()
    return open_store(
        encoder.facts,
        encoder.dim,
        kind=kind,
        root=root,
        segment_bytes=segment_bytes,
        note=None if notes is None else notes.append,
    )


def require_all(store: StatesStore, texts: list[str], encoder: KnownStates) -> None:
    """Every text's states are those of the encoder, rounded to float16."""
    reader = store.reader(texts)
    wanted = [encoder.states(text).half().float() for text in texts]
    assert reader.lengths.tolist() == [len(states) for states in wanted]
    states, mask = reader.padded(np.arange(len(texts)))
    for index, rows in enumerate(wanted):
        assert torch.equal(states[index, : len(rows)], rows)
        assert not states[index, len(rows) :].any()
        assert mask[index].tolist() == [True] * len(rows) + [False] * (mask.shape[1] - len(rows))


def test_states_come_back_as_encoded_in_the_order_asked(tmp_path: Path) -> None:
    encoder = KnownStates()
    store = store_of(tmp_path)
    assert store.missing(TEXTS).tolist() == [0, 1, 2, 3, 4, 5]
    filled = store.fill(encoder, TEXTS)
    assert (filled.texts, filled.rows, filled.tokens) == (5, 5 + 2 + 9 + 5 + 3, 24)
    require_all(store, TEXTS, encoder)
    require_all(store_of(tmp_path), TEXTS[::-1], encoder)


def test_a_text_is_encoded_once_whatever_data_set_it_is_in(tmp_path: Path) -> None:
    encoder = KnownStates()
    store_of(tmp_path).fill(encoder, TEXTS[:3])
    second = store_of(tmp_path)
    assert second.missing(TEXTS).tolist() == [3, 5]
    assert second.fill(encoder, TEXTS[::-1]).texts == 2
    assert Counter(encoder.encoded) == Counter(set(TEXTS))
    assert second.fill(encoder, TEXTS).texts == 0


def test_stores_of_other_facts_width_or_kind_are_apart(tmp_path: Path) -> None:
    encoder = KnownStates()
    store_of(tmp_path).fill(encoder, TEXTS)
    other = KnownStates(name="../../else where/BERT base!")
    wide = KnownStates(dim=7)
    stores = [
        store_of(tmp_path, other),
        store_of(tmp_path, wide),
        store_of(tmp_path, kind="int8"),
    ]
    assert all(len(store.missing(TEXTS)) == len(TEXTS) for store in stores)
    assert len({store.folder for store in [*stores, store_of(tmp_path)]}) == 4
    assert all(store.folder.parent == tmp_path for store in stores)
    assert stores[0].folder.name.startswith("BERT-base-")
    with pytest.raises(ValueError, match="is not what"):
        stores[0].fill(encoder, TEXTS)


@pytest.mark.parametrize("name", ["", "/", "..", "\\", ".hidden", "-rf", "a" * 300, "模型"])
def test_any_name_makes_a_plain_folder_name(tmp_path: Path, name: str) -> None:
    folder = store_of(tmp_path, KnownStates(name=name)).folder
    assert folder.parent == tmp_path
    assert folder.name[0].isalnum()
    assert folder.name.isascii()
    assert len(folder.name) < 80


def test_a_reader_of_texts_without_states_says_how_many(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    store.fill(KnownStates(), TEXTS[:2])
    with pytest.raises(DataError, match="lacks the states of 3 of 6 texts"):
        store.reader(TEXTS)


def test_no_texts_at_all(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    assert store.fill(KnownStates(), []).texts == 0
    assert not store.folder.exists()
    states, mask = store.reader([]).padded([])
    assert states.shape == (0, 0, 6)
    assert mask.shape == (0, 0)


def test_word_pieces_are_kept_where_the_encoder_counts_them(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    store.fill(KnownStates(), TEXTS[:2])
    assert store.reader(TEXTS[:2]).pieces.tolist() == [-1, -1]

    class Counting(KnownStates):
        def prepare(self, texts: Sequence[str], **rest: Any) -> PreparedWords:
            prepared = super().prepare(texts, **rest)
            object.__setattr__(prepared, "pieces", np.array([len(text) for text in texts]))
            return prepared

    store.fill(Counting(), TEXTS)
    assert store.reader(TEXTS[::-1]).pieces.tolist() == [3, -1, 16, 13, -1, -1]


def test_progress_counts_all_tokens(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    tokenised: list[tuple[int, int]] = []
    texts = [f"text {'more ' * (number % 9)}{number}" for number in range(200)]
    store_of(tmp_path, segment_bytes=900).fill(
        KnownStates(),
        texts,
        progress=lambda done, total: calls.append((done, total)),
        tokenising=lambda done, total: tokenised.append((done, total)),
    )
    total = sum(len(text.split()) + 2 for text in texts)
    assert calls[-1] == (total, total)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert {whole for _, whole in calls} == {total}
    assert sum(done for done, _ in tokenised) == 200


def test_texts_of_similar_length_lie_together(tmp_path: Path) -> None:
    texts = [f"{'w ' * (number * 37 % 50)}{number}" for number in range(100)]
    store = store_of(tmp_path, segment_bytes=2000)
    store.fill(KnownStates(), texts)
    located = store.locate(texts)
    spans = [
        np.ptp(located.length[located.segment == number]) for number in range(len(located.segments))
    ]
    assert len(spans) > 10
    assert max(spans) <= 10  # of 50


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, DataError])
def test_what_was_encoded_before_an_interruption_is_kept(
    tmp_path: Path, error: type[BaseException]
) -> None:
    class Stopped(error):  # type: ignore[misc, valid-type]
        def __init__(self, *_: object) -> None:
            if error is DataError:
                super().__init__("stopped", remedy="go on")

    stopped = KnownStates(fail_after=3, error=Stopped)
    with pytest.raises(error):
        store_of(tmp_path, segment_bytes=10**6).fill(stopped, TEXTS)
    encoder = KnownStates()
    store = store_of(tmp_path)
    assert store.fill(encoder, TEXTS).texts == 2
    assert not set(encoder.encoded) & set(stopped.encoded)
    require_all(store, TEXTS, encoder)


def test_a_killed_process_leaves_nothing_that_counts(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    store.fill(KnownStates(), TEXTS[:2])
    leaving = store.folder / ".abc.tmp"
    leaving.write_bytes(b"half a segment")
    encoder = KnownStates()
    store.fill(encoder, TEXTS)
    assert not leaving.exists()
    require_all(store, TEXTS, encoder)


def test_a_segment_is_written_after_a_while_however_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qkv.text.states.writing.LONGEST_LOSS_SECONDS", -1.0)
    store = store_of(tmp_path, segment_bytes=10**9)
    store.fill(KnownStates(), TEXTS)
    assert len(list(store.folder.glob("*.safetensors"))) == 5


def test_states_beyond_float16_are_refused_not_kept(tmp_path: Path) -> None:
    class Loud(KnownStates):
        factor = 1e6

        def states(self, text: str) -> torch.Tensor:
            return super().states(text) * self.factor

    encoder = Loud()
    with pytest.raises(DataError, match=r'beyond float16; keep them with states = "int8"'):
        store_of(tmp_path).fill(encoder, TEXTS)
    store = store_of(tmp_path, kind="int8")
    store.fill(encoder, TEXTS)
    states, _ = store.reader(TEXTS[:1]).padded([0])
    assert torch.allclose(states[0], encoder.states(TEXTS[0]), atol=4e6 / 254)
    for kind in ("float16", "int8"):
        encoder.factor = float("nan")
        with pytest.raises(DataError, match="infinite or not numbers"):
            store_of(tmp_path, kind=kind).fill(encoder, ["new"])


def test_states_of_a_wrong_shape_are_a_bug_of_the_encoder(tmp_path: Path) -> None:
    class Short(KnownStates):
        def states(self, text: str) -> torch.Tensor:
            return super().states(text)[1:]

    with pytest.raises(ValueError, match=r"shape \(1, 6\), not \(2, 6\)"):
        store_of(tmp_path).fill(Short(), TEXTS)


def test_the_facts_are_kept_for_people_and_mended(tmp_path: Path) -> None:
    encoder, notes = KnownStates(), list[str]()
    store = store_of(tmp_path, notes=notes)
    store.fill(encoder, TEXTS[:2])
    facts = store.folder / "facts.json"
    document = json.loads(facts.read_text())
    assert document == {"format": 1, "facts": encoder.facts, "dim": 6, "kind": "float16"}
    facts.write_text("{")
    store.fill(encoder, TEXTS)
    assert json.loads(facts.read_text()) == document
    assert f"{facts} was damaged and is written again" in notes
    require_all(store, TEXTS, encoder)


words = st.lists(st.sampled_from(["a", "b", "cc"]), max_size=4).map(" ".join)
steps = st.lists(
    st.tuples(
        st.lists(words, max_size=8),  # texts to have
        st.none() | st.integers(0, 6),  # encoded before the process is interrupted
        st.booleans(),  # whether the store is opened anew
        st.sampled_from([1, 100, 10**6]),  # bytes of a segment
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60)
@given(steps=steps)
def test_any_history_of_fillings_and_interruptions_ends_in_the_encoders_states(
    steps: list[tuple[list[str], int | None, bool, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = store_of(root)
        everything: list[str] = []
        finished: Counter[str] = Counter()
        for texts, fail_after, opened_anew, segment_bytes in steps:
            if opened_anew:
                store = store_of(root, segment_bytes=segment_bytes)
            encoder = KnownStates(fail_after=fail_after)
            everything += texts
            try:
                store.fill(encoder, texts)
            except KeyboardInterrupt:
                pass
            else:
                require_all(store, texts, encoder)
            finished.update(encoder.encoded)
        encoder = KnownStates()
        store.fill(encoder, everything)
        finished.update(encoder.encoded)
        assert finished == Counter(set(everything))
        require_all(store, everything, encoder)
        require_all(store_of(root), everything, encoder)
