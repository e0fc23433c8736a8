"""Texts as bags of hashed word n-grams; no vocabulary is kept.

The hashes are part of every saved model: to change them is to break the models that exist.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from qkv.data.dataset import IntArray

# Kana and Chinese characters: written without spaces, so each is taken for a word of its own.
_ALONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W_{_ALONE}]"
# Punctuation counts: it parts phrases, "!" and "?" say something, "8 / 10" says much.
_WORD = re.compile(rf"{_LETTER}+(?:['’]{_LETTER}+)*|[{_ALONE}]|[^\w\s]")
_ODD = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
# Enough for numpy to work in long strides, little enough to stay near the cache.
_CHUNK_CHARACTERS = 500_000
_MOST_REMEMBERED = 1_000_000

UInt64Array = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Bags:
    """N-grams of several texts, ragged.

    Attributes:
        buckets: int32 (entries,), the bucket of each n-gram, ascending within a text, each once.
        counts: int32 (entries,), how often the text has n-grams of that bucket.
        bounds: int64 (texts + 1,): text i has the entries from bounds[i] up to bounds[i + 1].
    """

    buckets: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    bounds: IntArray

    @property
    def texts(self) -> int:
        """How many texts."""
        return len(self.bounds) - 1

    def owners(self) -> IntArray:
        """int64 (entries,): the text of each entry."""
        return np.repeat(np.arange(self.texts), np.diff(self.bounds))


def split_words(text: str) -> list[str]:
    """The words of a text, in order.

    Lower-case runs of letters and digits; an apostrophe between letters belongs to its word
    ("don't"). Every other visible character is a word of its own (punctuation, emoji, Chinese
    characters and kana); white space and underscores part words and are dropped.
    """
    return _WORD.findall(text.lower())


def bag_ngrams(
    texts: Sequence[str],
    *,
    max_n: int,
    hash_bits: int,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Bags]:
    """Count the hashed n-grams of texts, some thousands of n-grams at a time.

    A word has the hash `h(w)` = the first 8 bytes of BLAKE2b of its UTF-8, little-endian. An n-gram
    has `g(w1) = h(w1)`, `g(w1…wn) = mix(g(w1…wn−1)) + h(wn)` modulo 2^64, and lies in the bucket
    that the highest bits of `mix(g + n)` number. `mix(x)` does `x ^= x >> 32; x *= odd` twice, then
    `x ^= x >> 32`.

    Args:
        texts: any strings; lone surrogates and empty texts too.
        max_n: words in the longest n-gram.
        hash_bits: bits of the bucket's number, at most 30.
        progress: called with (texts done, all texts).

    Yields:
        The bags of consecutive texts, in order.
    """
    hashes = _WordHashes()
    for start, stop in _chunks(texts):
        words = [split_words(text) for text in texts[start:stop]]
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        flat = map(hashes.__getitem__, chain.from_iterable(words))
        each = np.fromiter(flat, np.uint64, int(lengths.sum()))
        yield _bags(each, lengths, max_n, hash_bits)
        hashes.limit()
        if progress is not None:
            progress(stop, len(texts))


class _WordHashes(dict[str, int]):
    """Hashes of words, each computed once while it is remembered."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = self[word] = int.from_bytes(digest, "little")
        return value

    def limit(self) -> None:
        """Forget everything once it is too much."""
        if len(self) > _MOST_REMEMBERED:
            self.clear()


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for number, text in enumerate(texts):
        size += len(text)
        if size >= _CHUNK_CHARACTERS or number + 1 == len(texts):
            yield start, number + 1
            start, size = number + 1, 0


def _bags(words: UInt64Array, lengths: IntArray, max_n: int, hash_bits: int) -> Bags:
    owners = np.repeat(np.arange(len(lengths)), lengths)
    shift = np.uint64(64 - hash_bits)
    keys, ngrams = [], words
    for n in range(1, max_n + 1):
        if n > 1:
            ngrams = _mix(ngrams[:-1]) + words[n - 1 :]
        own = owners[: len(ngrams)]
        key = (own << hash_bits) | (_mix(ngrams + np.uint64(n)) >> shift).astype(np.int64)
        # An n-gram whose last word is in the next text is none.
        keys.append(key[own == owners[n - 1 :]])
    every = np.concatenate(keys)
    every.sort()
    firsts = np.flatnonzero(np.diff(every, prepend=-1))
    entries = every[firsts]
    return Bags(
        buckets=(entries & ((1 << hash_bits) - 1)).astype(np.int32),
        counts=np.diff(firsts, append=len(every)).astype(np.int32),
        bounds=np.searchsorted(entries >> hash_bits, np.arange(len(lengths) + 1)),
    )


def _mix(values: UInt64Array) -> UInt64Array:
    for _ in range(2):
        values = (values ^ (values >> _HALF)) * _ODD
    return values ^ (values >> _HALF)
