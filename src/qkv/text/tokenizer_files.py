"""A tokenizer as an encoder's folder keeps it: tokenizer.json, or vocab.txt with its settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qkv.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

DEFINITION, VOCABULARY = "tokenizer.json", "vocab.txt"
SETTINGS = "tokenizer_config.json"
TOKENIZER_FILES = (DEFINITION, VOCABULARY, SETTINGS)

# A vocab.txt says nothing of its rules. These write one of word pieces under BERT's rules.
_WORD_PIECE_CLASSES = {
    f"{family}Tokenizer{fast}"
    for family in ("Bert", "DistilBert", "Electra", "MPNet", "MobileBert", "Funnel", "Lxmert")
    for fast in ("", "Fast")
}
# What a special token is called where no file says: BERT's way, then RoBERTa's.
_USUAL_NAMES = {
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
}
_REMEDY = "name the folder of an encoder with its tokenizer, whole and undamaged"


@dataclass(frozen=True)
class TokenizerFiles:
    """What a folder says about its tokenizer.

    Attributes:
        rust: the tokenizer, which neither cuts nor pads.
        sha256: hash of what defines it, 64 hex digits.
        cls_id, sep_id, pad_id, unk_id: its special tokens.
    """

    rust: RustTokenizer
    sha256: str
    cls_id: int
    sep_id: int
    pad_id: int
    unk_id: int


def read_tokenizer(folder: Path) -> TokenizerFiles:
    """Read the tokenizer of a folder.

    Raises:
        MissingExtraError: the tokenizers library is not installed.
        DataError: the files are missing, damaged or of no known kind.
    """
    settings = _settings(folder)
    if (folder / DEFINITION).is_file():
        content = _read(folder / DEFINITION)
        rust, defining = _from_definition(folder / DEFINITION, content), [content]
    elif (folder / VOCABULARY).is_file():
        content = _read(folder / VOCABULARY)
        rules = _rules(folder, settings)
        rust = _from_vocabulary(folder / VOCABULARY, content, rules)
        defining = [content, json.dumps(rules, sort_keys=True).encode()]
    else:
        raise DataError(
            f"{folder} has no tokenizer: neither {DEFINITION} nor {VOCABULARY}", remedy=_REMEDY
        )
    # A definition may hold a length to cut at, and one to fill up to.
    rust.no_truncation()
    rust.no_padding()
    # A text that spells `[SEP]` does not end there.
    rust.encode_special_tokens = True
    ids = {kind: _special_id(folder, rust, kind, settings) for kind in _USUAL_NAMES}
    wrapped = rust.encode("", add_special_tokens=True).ids
    if len(wrapped) == 2:
        ids["cls"], ids["sep"] = wrapped
    return TokenizerFiles(
        rust=rust,
        sha256=hashlib.sha256(b"".join(defining)).hexdigest(),
        **{f"{kind}_id": number for kind, number in ids.items()},
    )


def _from_definition(path: Path, content: bytes) -> RustTokenizer:
    rust_tokenizer = _library().Tokenizer
    try:
        rust: RustTokenizer = rust_tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:
        # The library raises nothing narrower than Exception itself.
        if type(error) is not Exception and not isinstance(error, UnicodeDecodeError):
            raise
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is no tokenizer: {reason}", remedy=_REMEDY) from None
    return rust


def _from_vocabulary(path: Path, content: bytes, rules: dict[str, Any]) -> RustTokenizer:
    tokenizers = _library()
    try:
        entries = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason}", remedy=_REMEDY) from None
    if not entries[-1]:
        entries.pop()
    vocabulary = {entry.rstrip("\r"): number for number, entry in enumerate(entries)}
    if len(vocabulary) != len(entries):
        raise DataError(f"{path} lists an entry twice", remedy=_REMEDY)
    unknown = rules["unk_token"]
    if unknown not in vocabulary:
        raise DataError(f"{path} lacks the entry {unknown}", remedy=_REMEDY)
    rust: RustTokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=100)
    )
    rust.normalizer = tokenizers.normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=rules["tokenize_chinese_chars"],
        strip_accents=rules["strip_accents"],
        lowercase=rules["do_lower_case"],
    )
    rust.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return rust


def _rules(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """How BERT's tokenizer treats letters, by the settings beside a vocabulary."""
    kind = settings.get("tokenizer_class", "BertTokenizer")
    if kind not in _WORD_PIECE_CLASSES:
        raise DataError(
            f"{folder} has a {VOCABULARY} of {kind}, which qkv reads only from {DEFINITION}",
            remedy=f"save the tokenizer with transformers, so that it has {DEFINITION}",
        )
    unknown = settings.get("unk_token", "[UNK]")
    return {
        "unk_token": unknown["content"] if isinstance(unknown, dict) else unknown,
        "tokenize_chinese_chars": settings.get("tokenize_chinese_chars", True),
        "strip_accents": settings.get("strip_accents"),
        "do_lower_case": settings.get("do_lower_case", True),
    }


def _special_id(folder: Path, rust: RustTokenizer, kind: str, settings: dict[str, Any]) -> int:
    """The id of a special token: as the settings name it, else as it is usually called."""
    named = settings.get(f"{kind}_token")
    name = named.get("content") if isinstance(named, dict) else named
    for candidate in (name, *_USUAL_NAMES[kind]):
        number = rust.token_to_id(candidate) if isinstance(candidate, str) else None
        if number is not None:
            return int(number)
    raise DataError(
        f"the tokenizer in {folder} has no {kind} token ({' or '.join(_USUAL_NAMES[kind])})",
        remedy="name an encoder of the BERT family",
    )


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    if not path.is_file():
        return {}
    try:
        settings = json.loads(_read(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}", remedy=_REMEDY) from None
    if not isinstance(settings, dict):
        raise DataError(f"{path} is not a JSON object", remedy=_REMEDY)
    return settings


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", remedy="make it readable"
        ) from error


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise MissingExtraError(
            "tokenising texts needs the package tokenizers", remedy="pip install 'qkv[text]'"
        ) from None
    return tokenizers
