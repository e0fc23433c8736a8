"""Facts of the real vocabulary, and texts that nobody hopes for."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minilm import minilm_folder
from tokenizers import (
    AddedToken,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import Tokenizer as RustTokenizer

from qkv.errors import DataError, MissingExtraError
from qkv.text.tokenizer import Tokenizer, chunks

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


# Tokenizers as folders keep them: whole definitions, bare vocabularies, and damaged ones.


def bare(folder: Path, **settings: Any) -> Tokenizer:
    """The real vocabulary without its definition."""
    folder.mkdir(exist_ok=True)
    shutil.copy(minilm_folder() / "vocab.txt", folder)
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Tokenizer(folder)


def roberta(folder: Path) -> Path:
    """A byte-level BPE like RoBERTa's, that wraps texts in <s> … </s>, cuts them and fills them."""
    tokenizer = RustTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["good film, bad film"] * 9, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.enable_truncation(6)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return bare(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def defined() -> Tokenizer:
    return Tokenizer(minilm_folder())


@given(text=st.text(max_size=50))
def test_a_bare_vocabulary_spells_as_its_definition_does(
    plain: Tokenizer, defined: Tokenizer, text: str
) -> None:
    assert plain.pieces(text) == defined.pieces(text)


def test_a_bare_vocabulary_has_the_usual_special_tokens(plain: Tokenizer) -> None:
    assert (plain.cls_id, plain.sep_id, plain.pad_id, plain.unk_id) == (101, 102, 0, 100)


@pytest.mark.parametrize(
    ("settings", "pieces"),
    [
        ({}, ["cafe", "o", "中", "文"]),
        ({"do_lower_case": False}, ["[UNK]", "[UNK]", "中", "文"]),
        ({"do_lower_case": True, "strip_accents": False}, ["cafe", "[UNK]", "中", "文"]),
        ({"do_lower_case": False, "strip_accents": True}, ["[UNK]", "o", "中", "文"]),
        ({"tokenize_chinese_chars": False}, ["cafe", "o", "中", "##文"]),
        ({"tokenizer_class": "MPNetTokenizer"}, ["cafe", "o", "中", "文"]),
    ],
)
def test_a_vocabulary_obeys_the_settings_beside_it(
    tmp_path: Path, settings: dict[str, Any], pieces: list[str]
) -> None:
    assert bare(tmp_path, **settings).pieces("CAFE ö 中文") == pieces


def test_names_of_special_tokens_come_from_the_settings(tmp_path: Path) -> None:
    tokenizer = bare(tmp_path, cls_token="the", sep_token={"content": "film"}, pad_token="[MASK]")
    assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id) == (1996, 2143, 103)


def test_the_hash_follows_what_defines_the_pieces(tmp_path: Path) -> None:
    hashes = {
        bare(tmp_path / "a").sha256,
        bare(tmp_path / "b", do_lower_case=False).sha256,
        Tokenizer(minilm_folder()).sha256,
    }
    assert len(hashes) == 3
    assert bare(tmp_path / "c", model_max_length=7).sha256 == bare(tmp_path / "d").sha256


def test_byte_level_pieces(tmp_path: Path) -> None:
    tokenizer = Tokenizer(roberta(tmp_path))
    assert (tokenizer.cls_id, tokenizer.pad_id, tokenizer.sep_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert tokenizer.pieces("good film") == ["good", "Ġfilm"]
    # Neither cut at 6 nor filled to 9; its mark for the end, spelt out, is text.
    assert len(tokenizer.encode(["good" * 20])[0]) == 20
    (ids,) = tokenizer.encode(["</s><mask>"])
    assert set(ids.tolist()).isdisjoint(range(5))
    assert "".join(tokenizer.pieces("</s><mask>")) == "</s><mask>"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "tokenizer.json is no tokenizer: "),
        ("tokenizer.json", "{}", "tokenizer.json is no tokenizer: "),
        ("tokenizer.json", b"\xff\xfe", "tokenizer.json is no tokenizer: "),
        ("tokenizer_config.json", "{", "tokenizer_config.json is not JSON"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json is not a JSON object"),
        ("vocab.txt", b"[PAD]\n\xff", "vocab.txt is not UTF-8"),
        ("vocab.txt", "[UNK]\na\na\n", "vocab.txt lists an entry twice"),
        ("vocab.txt", "[PAD]\na\n", r"vocab.txt lacks the entry \[UNK\]"),
        ("vocab.txt", "[UNK]\na\n", r"has no cls token \(\[CLS\] or <s>\)"),
        (
            "tokenizer_config.json",
            '{"tokenizer_class": "PhobertTokenizer"}',
            "of PhobertTokenizer, which qkv reads only from tokenizer.json; save the tokenizer",
        ),
    ],
)
def test_files_that_are_no_tokenizer(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    bare(tmp_path)
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message) as raised:
        Tokenizer(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither tokenizer.json nor vocab.txt"):
        Tokenizer(tmp_path)


def test_without_the_library_the_remedy_is_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"tokenizers; pip install 'qkv\[text\]'"):
        Tokenizer(minilm_folder())


def test_windows_line_ends_in_a_vocabulary(tmp_path: Path) -> None:
    lines = (minilm_folder() / "vocab.txt").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "vocab.txt").write_bytes(lines)
    assert Tokenizer(tmp_path).encode(["hello world"])[0].tolist() == [7592, 2088]


# Parts of a long text give the pieces of the whole, whatever kind of tokenizer reads them.

SENTENCES = ["The plot was thin, but I'd see it again.", "Don't!  Waste (your) time\non this é"]
WORDS = [*" \n'.,!é\u0301中", "the", "I'd", "Plot", "7"]


@cache
def known_tokenizer(kind: str) -> RustTokenizer:
    if kind == "word pieces":
        tokenizer = RustTokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
    elif kind == "byte-level BPE":
        tokenizer = RustTokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(SENTENCES * 20, trainer)
    else:
        tokenizer = RustTokenizer(models.Unigram())
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

    parts = list(chunks(text, longest=40))
    assert [piece for _, part in parts for piece in pieces(part)] == pieces(text)


@given(text=st.text(" ab\n", max_size=200), longest=st.integers(2, 50))
def test_parts_join_to_the_whole_and_are_short(text: str, longest: int) -> None:
    parts = list(chunks(text, longest))
    assert "".join(part for _, part in parts) == text
    assert [start for start, _ in parts] == [
        sum(len(part) for _, part in parts[:number]) for number in range(len(parts))
    ]
    assert all(0 < len(part) <= longest for _, part in parts) or text == ""


def test_where_parts_end() -> None:
    assert list(chunks("one two three", 8)) == [(0, "one two"), (7, " three")]
    assert list(chunks("one two", 7)) == [(0, "one two")]
    assert list(chunks("abcdefghij", 4)) == [(0, "abcd"), (4, "efgh"), (8, "ij")]


def test_many_blanks_that_are_no_seams_are_no_long_search() -> None:
    text = " " * 5_000_000
    assert sum(len(part) for _, part in chunks(text, 1 << 18)) == len(text)
