"""The reviews as they were published: counted, in one order, known by one hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from qkv.data.dataset import TextSplit, text_sha256
from qkv.errors import DataError
from qkv.text.imdb.facts import CLASS_NAMES, SPLITS, TITLE, ImdbFacts

Pair = tuple[str, int]
"""A review and its label."""

_BREAK = re.compile(r"<br ?/>")


@dataclass(frozen=True)
class Reviews:
    """The whole data set.

    Attributes:
        pairs: the reviews of each split with their labels, in the order of `gather`.
        sha256: `digest` of each split.
    """

    pairs: Mapping[str, tuple[Pair, ...]]
    sha256: Mapping[str, str]

    def split(self, name: str) -> TextSplit:
        """One split for training: breaks are newlines, labels are int64."""
        pairs = self.pairs[name]
        return TextSplit(
            texts=tuple(lines_for_breaks(text) for text, _ in pairs),
            labels=np.array([label for _, label in pairs], dtype=np.int64),
        )


def lines_for_breaks(text: str) -> str:
    r"""A review with each `<br />` or `<br/>` as one newline, and nothing else changed.

    The reviews were cut out of web pages, and this is the one tag that is left in them. Other
    angle brackets, blanks at either end and doubled newlines are the writer's and stay.

    >>> lines_for_breaks("Bad.<br /><br />Really <bad>.")
    'Bad.\n\nReally <bad>.'
    """
    return _BREAK.sub("\n", text)


def gather(
    pairs: Mapping[str, Iterable[Pair]], facts: ImdbFacts, *, where: str, remedy: str
) -> Reviews:
    """The data set out of its reviews in any order.

    The places that offer IMDB have it in different orders. Here the order is that of the texts'
    hashes: it is the same wherever the texts came from, so that a seed means the same, and any
    stretch of it is a fair sample of both classes.

    Args:
        pairs: reviews and labels of each split.
        facts: how many there must be.
        where: names the place in errors.
        remedy: what to do if they are not all there.

    Raises:
        DataError: a split has not as many reviews of each label as it must have.
    """
    ordered: dict[str, tuple[Pair, ...]] = {}
    for split in SPLITS:
        found = list(pairs.get(split, ()))
        check_counts(split, [label for _, label in found], facts, where=where, remedy=remedy)
        keyed = sorted((text_sha256(text), label, text) for text, label in found)
        ordered[split] = tuple((text, label) for _, label, text in keyed)
    return Reviews(ordered, {split: digest(ordered[split]) for split in SPLITS})


def check_counts(
    split: str, labels: Iterable[int], facts: ImdbFacts, *, where: str, remedy: str
) -> None:
    """Stop unless a split has all its reviews.

    Raises:
        DataError: there are more or fewer of a label, or labels that are none.
    """
    values, each = np.unique(np.fromiter(labels, dtype=np.int64), return_counts=True)
    counts = dict(zip(values.tolist(), each.tolist(), strict=True))
    expected = dict.fromkeys(range(len(CLASS_NAMES)), facts.reviews_per_class)
    if counts == expected:
        return
    strange = sorted(counts.keys() - expected.keys())
    if strange:
        raise DataError(
            f"{where}: {split} has label {strange[0]}, not 0 (neg) or 1 (pos)", remedy=remedy
        )
    found = " and ".join(
        f"{counts.get(label, 0):,} {name}" for label, name in enumerate(CLASS_NAMES)
    )
    raise DataError(
        f"{where}: {split} of {TITLE} has {found} reviews, not {facts.reviews_per_class:,} of each",
        remedy=remedy,
    )


def digest(pairs: Iterable[Pair]) -> str:
    """One hash over reviews and labels in their order, 64 hex digits."""
    total = hashlib.sha256()
    for text, label in pairs:
        total.update(text_sha256(text))
        total.update(bytes([label]))
    return total.hexdigest()
