"""Words cover a text, and every piece belongs to the word that it stands in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qkv.errors import DataError
from qkv.explanation.explanation import Word
from qkv.explanation.text_words import NO_WORD, split_words, words_of_pieces
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
