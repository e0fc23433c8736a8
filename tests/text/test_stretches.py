"""Parts of a long text give the pieces of the whole, whatever kind of tokenizer reads them."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minilm import minilm_folder
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from qkv.text.tokenizer import stretches

SENTENCES = ["The plot was thin, but I'd see it again.", "Don't!  Waste (your) time\non this é"]
WORDS = [*" \n'.,!é\u0301中", "the", "I'd", "Plot", "7"]


@cache
def known_tokenizer(kind: str) -> Tokenizer:
    if kind == "word pieces":
        tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
    elif kind == "byte-level BPE":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(SENTENCES * 20, trainer)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        unigrams = trainers.UnigramTrainer(
            vocab_size=80, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
        )
        tokenizer.train_from_iterator(SENTENCES * 20, unigrams)
    return tokenizer


@pytest.mark.parametrize("kind", ["word pieces", "byte-level BPE", "SentencePiece"])
@given(words=st.lists(st.sampled_from(WORDS), max_size=80))
def test_parts_give_the_pieces_of_the_whole(kind: str, words: list[str]) -> None:
    # Blanks often enough that there is always one to end at.
    text = " the ".join("".join(words[at : at + 3]) for at in range(0, len(words), 3))
    tokenizer = known_tokenizer(kind)

    def pieces(part: str) -> list[str]:
        return tokenizer.encode(part, add_special_tokens=False).tokens

    parts = list(stretches(text, longest=40))
    assert [piece for _, part in parts for piece in pieces(part)] == pieces(text)


@given(text=st.text(" ab\n", max_size=200), longest=st.integers(2, 50))
def test_parts_join_to_the_whole_and_are_short(text: str, longest: int) -> None:
    parts = list(stretches(text, longest))
    assert "".join(part for _, part in parts) == text
    assert [start for start, _ in parts] == [
        sum(len(part) for _, part in parts[:number]) for number in range(len(parts))
    ]
    assert all(0 < len(part) <= longest for _, part in parts) or text == ""


def test_where_parts_end() -> None:
    assert list(stretches("one two three", 8)) == [(0, "one two"), (7, " three")]
    assert list(stretches("one two", 7)) == [(0, "one two")]
    assert list(stretches("abcdefghij", 4)) == [(0, "abcd"), (4, "efgh"), (8, "ij")]


def test_many_blanks_that_are_no_seams_are_no_long_search() -> None:
    text = " " * 5_000_000
    assert sum(len(part) for _, part in stretches(text, 1 << 18)) == len(text)
