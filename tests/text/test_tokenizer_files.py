"""Tokenizers as folders keep them: whole definitions, bare vocabularies, and damaged ones."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minilm import minilm_folder
from tokenizers import AddedToken, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as RustTokenizer

from qkv.errors import DataError, MissingExtraError
from qkv.text.tokenizer import Tokenizer


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
