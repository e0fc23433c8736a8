"""Facts of the real vocabulary, and texts that nobody hopes for."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minilm import minilm_folder

from qkv.text.tokenizer import Tokenizer

UNK = 100


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer(minilm_folder())


def ids(text: str) -> list[int]:
    (pieces,) = tokenizer().encode([text])
    assert pieces.dtype == np.int32
    return pieces.tolist()


def test_facts_of_the_vocabulary() -> None:
    vocabulary = (minilm_folder() / "vocab.txt").read_bytes()
    assert hashlib.sha256(vocabulary).hexdigest() == (
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    )
    known = tokenizer()
    assert known.vocabulary_size == 30_522
    assert (known.cls_id, known.sep_id, known.pad_id, known.unk_id) == (101, 102, 0, 100)


def test_the_worked_sentence() -> None:
    text = "Hello WORLD how ARE yoU?"
    assert tokenizer().pieces(text) == ["hello", "world", "how", "are", "you", "?"]
    assert ids(text) == [7592, 2088, 2129, 2024, 2017, 1029]


def test_the_definition_s_own_cut_at_128_and_its_padding_are_off() -> None:
    assert ids("word " * 1000) == [2773] * 1000
    assert ids("word") == [2773]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        (" \t\r\n\u00a0\u3000", []),
        ("\x00\x07\x1b\x7f", []),
        ("con\x00trol\x07s", ["controls"]),
        ("zero\u200bwidth \u202eabc", ["zero", "##wi", "##dt", "##h", "abc"]),
        ("😀 smile 👨\u200d👩\u200d👧", ["[UNK]", "smile", "[UNK]"]),
        ("سلام", ["س", "##ل", "##ا", "##م"]),
        ("שלום!", ["ש", "##ל", "##ו", "##ם", "!"]),
        ("中文", ["中", "文"]),
        ("Crème BRÛLÉE cafe\u0301", ["cr", "##eme", "br", "##ule", "##e", "cafe"]),
        ("a\ud800b \udfff", ["ab"]),
        ("x" * 101, ["[UNK]"]),
        ("[CLS] a [SEP]", ["[", "cl", "##s", "]", "a", "[", "sep", "]"]),
    ],
)
def test_texts_that_nobody_hopes_for(text: str, pieces: list[str]) -> None:
    assert tokenizer().pieces(text) == pieces
    assert len(ids(text)) == len(pieces)


@given(text=st.text(st.characters(), max_size=60))
def test_any_text_has_pieces_and_a_surrogate_counts_as_the_replacement(text: str) -> None:
    replaced = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert ids(text) == ids(replaced)


@given(texts=st.lists(st.text(max_size=30), max_size=8))
def test_a_text_s_pieces_do_not_depend_on_the_others(texts: list[str]) -> None:
    together = tokenizer().encode(texts)
    assert [pieces.tolist() for pieces in together] == [ids(text) for text in texts]


@given(text=st.text(st.characters(), max_size=60))
def test_offsets_point_at_what_a_piece_was_made_of(text: str) -> None:
    pieces, offsets = tokenizer().encode_with_offsets(text)
    assert pieces.tolist() == ids(text)
    assert offsets.shape == (len(pieces), 2)
    assert (offsets[:, 0] <= offsets[:, 1]).all()
    for piece, (start, stop) in zip(tokenizer().pieces(text), offsets, strict=True):
        letters = piece.removeprefix("##")
        made_of = "".join(c for c in text[start:stop] if c.isprintable())
        assert piece == "[UNK]" or not made_of.isascii() or letters == made_of.lower()


def test_offsets_by_hand() -> None:
    pieces, offsets = tokenizer().encode_with_offsets("😀 Crème, no")
    assert tokenizer().pieces("😀 Crème, no") == ["[UNK]", "cr", "##eme", ",", "no"]
    assert len(pieces) == 5
    assert offsets.tolist() == [[0, 1], [2, 4], [4, 7], [7, 8], [9, 11]]


def test_ten_megabytes_in_bounded_memory() -> None:
    # In a process of its own, whose peak is this text's. Encoded in one call it takes 1.2 GB.
    script = f"""
        import re
        from pathlib import Path
        from qkv.text.tokenizer import Tokenizer

        def peak_megabytes():
            status = Path("/proc/self/status").read_text()
            return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1000

        tokenizer = Tokenizer(Path({str(minilm_folder())!r}))
        sentence = "It was, I'd say, déjà vu all over again, and so on and on and on, forever. "
        (expected,) = tokenizer.encode([sentence])
        before = peak_megabytes()
        (pieces,) = tokenizer.encode([sentence * 120_000])
        assert (pieces.reshape(120_000, -1) == expected).all()
        print(peak_megabytes() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert float(done.stdout) < 400


@pytest.mark.parametrize("letter", ["x", "😀", "x!"])
def test_a_very_long_text_without_a_blank(letter: str) -> None:
    assert set(ids(letter * 400_000)) <= {UNK, 1060, 999}


def test_progress_ends_at_the_total() -> None:
    told: list[tuple[int, int]] = []
    texts = ["a b " * 75_000] * 7
    tokenizer().encode(texts, progress=lambda done, total: told.append((done, total)))
    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] == (7, 7)


def test_no_texts() -> None:
    assert tokenizer().encode([]) == []


def test_a_process_that_forks_afterwards_says_nothing() -> None:
    script = f"""
        import os
        from pathlib import Path
        from qkv.text.tokenizer import Tokenizer

        tokenizer = Tokenizer(Path({str(minilm_folder())!r}))
        tokenizer.encode(["a b c"] * 1000)
        if (child := os.fork()) == 0:
            tokenizer.encode(["a b c"] * 1000)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
