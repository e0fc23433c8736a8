"""Words of a text, the pieces that are theirs, and what a text model reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_text_models import LONG, VARIANTS, WINDOWS, tiny_classifier

from qkv.errors import DataError
from qkv.explanation.explanation import Word
from qkv.explanation.text_words import NO_WORD, ReadText, split_words, words_of_pieces
from qkv.text.tokenizer import Tokenizer

TEXTS = st.text(
    st.one_of(st.sampled_from("abz é9 .'’-/<>!?\n\t日本カな\u200b"), st.characters()), min_size=1
)


@given(text=TEXTS)
@example(text="<br /><br>a<b c=d>")
@example(text="don't well-made 8/10 3.5 ... ?!")
def test_each_visible_character_belongs_to_one_word(text: str) -> None:
    if not text.strip():
        with pytest.raises(DataError, match="the text is empty; give at least one word"):
            split_words(text)
        return
    words = split_words(text)
    covered = np.zeros(len(text), dtype=np.int64)
    for word in words:
        assert word.text == text[word.start : word.end]
        covered[word.start : word.end] += 1
    assert covered.max() == 1
    assert [word.start for word in words] == sorted(word.start for word in words)
    between = [text[place] for place in np.flatnonzero(covered == 0)]
    assert all(character.isspace() for character in between)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It isn't well-made!", ["It", "isn't", "well-made", "!"]),
        ("8/10, or 3.5 ...?!", ["8/10", ",", "or", "3.5", "...?!"]),
        ("so<br /><br />good", ["so", "<br />", "<br />", "good"]),
        ("1 < 2 <b x=y>", ["1", "<", "2", "<", "b", "x", "=", "y", ">"]),
        ("日本 カナ ok", ["日", "本", "カ", "ナ", "ok"]),
        ("'quoted' end.", ["'", "quoted", "'", "end", "."]),
    ],
)
def test_words_are_what_a_reader_calls_so(text: str, expected: list[str]) -> None:
    assert [word.text for word in split_words(text)] == expected


@st.composite
def words_and_offsets(draw: st.DrawFn) -> tuple[tuple[Word, ...], np.ndarray]:
    text = draw(st.text("ab .,", min_size=1).filter(str.strip))
    places = st.integers(0, len(text))
    found = draw(st.lists(st.tuples(places, places).map(sorted), max_size=12))
    return split_words(text), np.array(found, dtype=np.int64).reshape(-1, 2)


@given(drawn=words_and_offsets())
def test_a_piece_belongs_to_the_first_word_that_it_touches(
    drawn: tuple[tuple[Word, ...], np.ndarray],
) -> None:
    words, offsets = drawn
    found = words_of_pieces(words, offsets)
    for (start, end), word in zip(offsets, found, strict=True):
        touched = [
            number
            for number, one in enumerate(words)
            if set(range(start, end)) & set(range(one.start, one.end))
        ]
        assert word == (touched[0] if touched else NO_WORD)


def test_pieces_join_to_words(bert: Path) -> None:
    text = "A wonderful  isn't-it film!"
    words = split_words(text)
    tokenizer = Tokenizer(bert)
    _, offsets = tokenizer.encode_with_offsets(text)
    joined = [""] * len(words)
    for piece, word in zip(tokenizer.pieces(text), words_of_pieces(words, offsets), strict=True):
        joined[word] += piece.removeprefix("##")
    # The tiny vocabulary has no piece for an apostrophe or a hyphen.
    assert joined == ["a", "wonderful", "isn[UNK]t[UNK]it", "film", "!"]
    assert len(offsets) > len(words)


TRUNCATIONS: list[dict[str, Any]] = [
    {"kind": "head"},
    {"kind": "tail"},
    {"kind": "head+tail", "head_tokens": 20},
    WINDOWS,
    {**WINDOWS, "max_windows": 2},
]


@pytest.mark.parametrize("truncation", TRUNCATIONS, ids=str)
def test_each_token_is_a_piece_of_its_word(bert: Path, truncation: dict[str, Any]) -> None:
    classifier = tiny_classifier(bert, truncation=truncation)
    read = ReadText(classifier, LONG)
    tokenizer = classifier.reading.encoder.tokenizer
    prepared = classifier.reading.encoder.prepare([LONG])
    np.testing.assert_array_equal(
        np.concatenate([window.input_ids for window in read.windows]), prepared.ids
    )
    assert len(read.words_of_states) == prepared.rows[0]
    for window in read.windows:
        assert window.words[0] == window.words[-1] == NO_WORD
        assert (window.words[1:-1] != NO_WORD).all()
        for number in np.unique(window.words[1:-1]):
            of_word = tokenizer.encode([read.words[number].text])[0].tolist()
            standing = window.input_ids[window.words == number].tolist()
            # A word at a window's end may lack pieces.
            assert str(standing)[1:-1] in str(of_word)
    special = [0, -1]
    assert (read.words_of_states[special] == NO_WORD).all()
    assert (read.words_of_states == NO_WORD).sum() == 2
    counted = read.by_word(np.ones(len(read.words_of_states)))
    np.testing.assert_array_equal(np.flatnonzero(counted), read.words_read)
    assert counted.sum() == prepared.rows[0] - 2


def test_truncation_says_which_words_are_read(bert: Path) -> None:
    read = {
        str(truncation): ReadText(tiny_classifier(bert, truncation=truncation), LONG)
        for truncation in TRUNCATIONS
    }
    head, tail, both, windows, two = read.values()
    last = len(windows.words) - 1
    assert windows.words_read.tolist() == list(range(last + 1))
    assert len(windows.windows) == 3
    assert head.words_read[0] == both.words_read[0] == 0
    assert head.words_read[-1] < two.words_read[-1] < last
    assert tail.words_read[0] > 0
    assert tail.words_read[-1] == both.words_read[-1] == last
    assert (np.diff(both.words_read) > 1).sum() == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_are_those_that_the_head_reads(bert: Path, variant: str) -> None:
    classifier = tiny_classifier(bert, **{**VARIANTS[variant], "stacked": False})
    read = ReadText(classifier, LONG)
    states, mask = read.states()
    assert states.shape == (1, len(read.words_of_states), 16)
    logits = classifier.model.head(states, mask)
    np.testing.assert_allclose(
        logits.detach().numpy(), classifier.neural_logits([LONG]).numpy(), atol=1e-5
    )


def test_there_is_nothing_to_read_in_an_empty_text(bert: Path) -> None:
    with pytest.raises(DataError, match="the text is empty"):
        ReadText(tiny_classifier(bert), "")
