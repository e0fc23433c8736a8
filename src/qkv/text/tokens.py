"""From text to the encoder's word pieces, by the Rust tokenizers library."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qkv.data.dataset import IntArray
from qkv.text.stretches import stretches
from qkv.text.tokenizer_files import TokenizerFiles, read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

Progress = Callable[[int, int], None]
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

    def __init__(self, files: TokenizerFiles) -> None:
        self._rust = files.rust
        self.sha256 = files.sha256
        self.vocabulary_size = files.rust.get_vocab_size()
        self.cls_id = files.cls_id
        self.sep_id = files.sep_id
        self.pad_id = files.pad_id
        self.unk_id = files.unk_id

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """The tokenizer of an encoder's folder: tokenizer.json, else BERT's upon vocab.txt.

        Raises:
            MissingExtraError: the library is not installed.
            DataError: the files are missing, damaged or of no known kind.
        """
        return cls(read_tokenizer(folder))

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[Pieces]:
        """Pieces of each text, int32 (pieces,), without special tokens.

        Args:
            texts: of any length; nothing is cut.
            progress: called with (done, total) texts.
        """
        parts: list[list[Pieces]] = [[] for _ in texts]
        for batch in _batches(texts):
            encodings = self._rust.encode_batch_fast(
                [part for _, part in batch], add_special_tokens=False
            )
            for (number, _), encoding in zip(batch, encodings, strict=True):
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
        for start, part in stretches(_characters(text)):
            yield start, self._rust.encode(part, add_special_tokens=False)


def _batches(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Stretches of all texts, each with the number of its text, in batches of bounded size."""
    batch: list[tuple[int, str]] = []
    size = 0
    for number, text in enumerate(texts):
        for _, part in stretches(_characters(text)):
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
