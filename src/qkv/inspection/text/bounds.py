"""How coarsely a long text is explained, so that it does not take for ever.

A method that asks the model about many variants of a text costs their number times what one of
them costs, and both grow with the text. The number therefore falls where the text is long, until so
few are left that the answer would be worth nothing; from there on the time grows with the text
alone, as that of reading it does.
"""

from __future__ import annotations

from qkv.inspection.text.masked import MaskedText
from qkv.inspection.text.spans import Spans, equal_spans

# Tokens that all variants of a text have together: those of a review of 512 tokens are not reduced.
# At ten thousand tokens a second and core, half a minute.
VARIANT_TOKENS = 300_000
# The same for points of a path, each of which costs about three readings for its gradient.
PATH_TOKENS = 64_000
# What splitting a text and counting its n-grams takes, beside reading a token by an encoder.
WORDS_A_TOKEN = 32
FEWEST_SPANS = 8
FEWEST_STEPS = 4


def bounded_spans(text: MaskedText, most: int, *, variants_a_span: int = 1) -> Spans:
    """Spans of words to take away one by one: at most `most`, fewer of a long text.

    Args:
        text: what is taken apart.
        most: spans of a text of any length.
        variants_a_span: texts that each span costs.
    """
    cost = text.read.tokens + text.parts // WORDS_A_TOKEN
    affordable = VARIANT_TOKENS // (cost * variants_a_span)
    return equal_spans(text.parts, min(most, max(affordable, FEWEST_SPANS)))


def bounded_steps(text: MaskedText, most: int) -> int:
    """Points of a path to the text: `most`, fewer of a long one."""
    return min(most, max(PATH_TOKENS // text.read.tokens, FEWEST_STEPS))
