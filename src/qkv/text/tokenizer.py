"""From text to the encoder's word pieces, by the Rust tokenizers library."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qkv.data.dataset import IntArray
from qkv.errors import DataError, MissingExtraError
from qkv.progress import Progress

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as RustTokenizer


LONGEST_CHUNK = 1 << 18
"""Characters; a tokenizer takes 100 to 500 bytes for each."""

# No tokenizer joins or alters anything across such a blank: not BERT's splitting at blanks, not
# byte-level BPE, which counts a blank to the word behind it, not SentencePiece, which does too.
_SEAM = re.compile(r"(?<=\S)[ \t\r\n](?=[0-9A-Za-z])")


def chunks(text: str, longest: int = LONGEST_CHUNK) -> Iterator[tuple[int, str]]:
    """Parts of a text of at most `longest` characters, each with the place where it begins.

    A part ends before a single blank that a letter or digit follows. Only a part that has no such
    blank in its second half ends after `longest` characters wherever that is; there alone can the
    pieces of the parts differ from the pieces of the whole.
    """
    start = 0
    while len(text) - start > longest:
        end = start + longest
        seams = [match.start() for match in _SEAM.finditer(text, start + longest // 2, end + 1)]
        end = seams[-1] if seams else end
        yield start, text[start:end]
        start = end
    yield start, text[start:]


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


def _from_definition(path: Path, content: bytes) -> RustTokenizer:
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:
        # The library raises nothing narrower than Exception itself.
        if type(error) is not Exception and not isinstance(error, UnicodeDecodeError):
            raise
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is no tokenizer: {reason}", remedy=_REMEDY) from None


def _from_vocabulary(path: Path, content: bytes, rules: dict[str, Any]) -> RustTokenizer:
    import tokenizers

    try:
        entries = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason}", remedy=_REMEDY) from None
    entries = entries[: len(entries) - (not entries[-1])]
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
        "unk_token": _content(unknown),
        "tokenize_chinese_chars": settings.get("tokenize_chinese_chars", True),
        "strip_accents": settings.get("strip_accents"),
        "do_lower_case": settings.get("do_lower_case", True),
    }


def _special_id(folder: Path, rust: RustTokenizer, kind: str, settings: dict[str, Any]) -> int:
    """The id of a special token: as the settings name it, else as it is usually called."""
    for candidate in (_content(settings.get(f"{kind}_token")), *_USUAL_NAMES[kind]):
        number = rust.token_to_id(candidate) if isinstance(candidate, str) else None
        if number is not None:
            return int(number)
    raise DataError(
        f"the tokenizer in {folder} has no {kind} token ({' or '.join(_USUAL_NAMES[kind])})",
        remedy="name an encoder of the BERT family",
    )


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    try:
        settings = json.loads(_read(path)) if path.is_file() else {}
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


Pieces = npt.NDArray[np.int32]

# Tokenised in one call, in threads; bounds both memory and the wait for an interrupt.
_BATCH_CHARACTERS = 1 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer:
    """Word pieces of texts of any length.

    Any text can be encoded; an empty or blank one has no pieces. A lone surrogate, which is no
    character, counts as U+FFFD. Names of special tokens in a text, such as `[SEP]`, are text. The
    rest is the tokenizer's own: BERT's lowers letters, drops accents and control characters, and
    takes [UNK] for a word of unknown letters or of more than 100.

    Attributes:
        sha256: hash of the files that define it, 64 hex digits.
        vocabulary_size: entries.
        cls_id: what stands before a text.
        sep_id: what stands after a text.
        pad_id: what fills a batch.
        unk_id: what stands for a word that the vocabulary cannot spell.
    """

    def __init__(self, folder: Path) -> None:
        """The tokenizer of an encoder's folder: tokenizer.json, else BERT's upon vocab.txt.

        Raises:
            MissingExtraError: the library is not installed.
            DataError: the files are missing, damaged or of no known kind.
        """
        if importlib.util.find_spec("tokenizers") is None:
            raise MissingExtraError(
                "tokenising texts needs the package tokenizers", remedy="pip install 'qkv[text]'"
            )
        settings = _settings(folder)
        if (folder / DEFINITION).is_file():
            content = _read(folder / DEFINITION)
            rust, defining = _from_definition(folder / DEFINITION, content), content
        elif (folder / VOCABULARY).is_file():
            content = _read(folder / VOCABULARY)
            rules = _rules(folder, settings)
            rust = _from_vocabulary(folder / VOCABULARY, content, rules)
            defining = content + json.dumps(rules, sort_keys=True).encode()
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
        self._rust = rust
        self.sha256 = hashlib.sha256(defining).hexdigest()
        self.vocabulary_size = rust.get_vocab_size()
        self.cls_id, self.sep_id = ids["cls"], ids["sep"]
        self.pad_id, self.unk_id = ids["pad"], ids["unk"]

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[Pieces]:
        """Pieces of each text, int32 (pieces,), without special tokens; nothing is cut.

        Args:
            texts: of any length.
            progress: called with (done, total) texts.
        """
        parts: list[list[Pieces]] = [[] for _ in texts]
        for batch in _batches(texts):
            numbers, some = zip(*batch, strict=True)
            encodings = self._rust.encode_batch_fast(some, add_special_tokens=False)
            for number, encoding in zip(numbers, encodings, strict=True):
                parts[number].append(np.array(encoding.ids, dtype=np.int32))
            if progress:
                progress(batch[-1][0] + 1, len(texts))
        return [part[0] if len(part) == 1 else np.concatenate(part) for part in parts]

    def encode_with_offsets(self, text: str) -> tuple[Pieces, IntArray]:
        """Pieces of a text, int32 (pieces,), and where each lies in it.

        Returns:
            The pieces, and int64 (pieces, 2): the text from the first to before the second is what
            the piece was made of, as it was written.
        """
        ids, offsets = [], []
        for start, encoding in self._encodings(text):
            ids.append(np.array(encoding.ids, dtype=np.int32))
            offsets.append(np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2) + start)
        return np.concatenate(ids), np.concatenate(offsets)

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text as the vocabulary writes them."""
        return [piece for _, encoding in self._encodings(text) for piece in encoding.tokens]

    def _encodings(self, text: str) -> Iterator[tuple[int, Encoding]]:
        for start, part in chunks(_characters(text)):
            yield start, self._rust.encode(part, add_special_tokens=False)


def _batches(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Chunks of all texts, each with the number of its text, in batches of bounded size."""
    batch: list[tuple[int, str]] = []
    size = 0
    for number, text in enumerate(texts):
        for _, part in chunks(_characters(text)):
            batch.append((number, part))
            size += len(part)
            if size >= _BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _characters(text: str) -> str:
    """A text without lone surrogates, which UTF-8 cannot write."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
