"""The words of a text where they stand, and which of an encoder's pieces make up each."""

from __future__ import annotations

import re

import numpy as np

from qkv.data.dataset import IntArray
from qkv.errors import DataError
from qkv.inspection.explanation import Word

NO_WORD = -1

# Kana and Chinese characters: written without spaces, so each is taken for a word of its own.
_ALONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W{_ALONE}]"
# Punctuation is apart, for "!" and ")" are read apart; but "don't", "well-made", "8/10" and "3.5"
# are one word to a reader, as is a mark such as "<br />", and so are "..." and "?!".
_WORD = re.compile(
    rf"</?[A-Za-z][A-Za-z0-9]*\s*/?>|{_LETTER}+(?:['’/.-]{_LETTER}+)*|[{_ALONE}]|[^\w\s<]+|<"
)


def split_words(text: str) -> tuple[Word, ...]:
    """The words of a text, in order.

    Every visible character belongs to exactly one; between two words stands white space or nothing.
    Runs of letters and digits are words, with an apostrophe, hyphen, stroke or dot between two of
    them; so are runs of other marks, tags without attributes, single Chinese characters and kana.

    Args:
        text: any string.

    Raises:
        DataError: there is none.
    """
    words = tuple(Word(m.group(), m.start(), m.end()) for m in _WORD.finditer(text))
    if not words:
        raise DataError("the text is empty", remedy="give at least one word")
    return words


def words_of_pieces(words: tuple[Word, ...], offsets: IntArray) -> IntArray:
    """The word of each piece, int64 (pieces,): the first that it has a character of.

    Args:
        words: in order.
        offsets: int64 (pieces, 2), where each piece lies in the text.

    Returns:
        Indices into `words`; −1 for a piece of white space or of nothing.
    """
    ends = np.array([word.end for word in words], dtype=np.int64)
    starts = np.array([word.start for word in words], dtype=np.int64)
    found = np.searchsorted(ends, offsets[:, 0], side="right")
    inside = np.minimum(found, len(words) - 1)
    some = offsets[:, 0] < offsets[:, 1]
    touches = some & (found < len(words)) & (starts[inside] < offsets[:, 1])
    return np.where(touches, inside, NO_WORD)
