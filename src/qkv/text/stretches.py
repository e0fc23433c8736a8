"""Very long texts in stretches, so that tokenising them takes bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_STRETCH = 1 << 18
"""Characters; a tokenizer takes 100 to 500 bytes for each."""

# No tokenizer joins or alters anything across such a blank: not BERT's splitting at blanks, not
# byte-level BPE, which counts a blank to the word behind it, not SentencePiece, which does too.
_SEAM = re.compile(r"(?<=\S)[ \t\r\n](?=[0-9A-Za-z])")


def stretches(text: str, longest: int = LONGEST_STRETCH) -> Iterator[tuple[int, str]]:
    """Parts of a text, each with the place where it begins.

    A part ends before a single blank that a letter or digit follows. Only a part that has no such
    blank in its second half ends after `longest` characters wherever that is; there alone can the
    pieces of the parts differ from the pieces of the whole.

    Args:
        text: any text; a short one is its only part.
        longest: characters of a part at most.
    """
    start = 0
    while len(text) - start > longest:
        end = _last_seam(text, start + longest // 2, start + longest)
        yield start, text[start:end]
        start = end
    yield start, text[start:]


def _last_seam(text: str, first: int, last: int) -> int:
    """The last seam at or behind `first` and not behind `last`; `last` if there is none."""
    at = last
    while at > first:
        # Only a few characters are searched unless seams are rare.
        lower = max(first, at - 1024)
        seams = [match.start() for match in _SEAM.finditer(text, lower, at + 1)]
        if seams:
            return seams[-1]
        at = lower
    return last
