"""What every set of labelled examples shares: index arrays, seeded splits, what was left out.

What a labelled set of texts is, once it has been read.

What a labelled set of images is, once it has been read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from qkv.errors import DataError

IntArray = npt.NDArray[np.int64]
SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
SPLIT_OF_NAME: dict[str, SplitName] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""What files and folders of a split are called, in lower case."""


@dataclass(frozen=True)
class Skipped:
    """A file, or a row of one (`FILE:LINE`), that was left out, and why."""

    path: str
    reason: str


def stratified_split(labels: IntArray, fraction: float, seed: int) -> tuple[IntArray, IntArray]:
    """Split example indices into (kept, carved), the same share of every class.

    Each class gives `round(fraction × count)` examples, at least one and never all, drawn by a
    generator seeded with `seed`. Both results are sorted, so the split is a function of labels,
    fraction and seed alone.

    Raises:
        DataError: a class has a single example, which cannot be on both sides.
    """
    generator = np.random.default_rng(seed)
    carved: list[IntArray] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(
                f"class number {label} has one example, too few to split",
                remedy="add examples of that class or remove it",
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        carved.append(generator.permutation(members)[:count])
    taken = np.sort(np.concatenate(carved)).astype(np.int64)
    kept = np.setdiff1d(np.arange(len(labels), dtype=np.int64), taken, assume_unique=True)
    return kept, taken


def equal_units(keys: Sequence[Hashable]) -> tuple[IntArray, IntArray]:
    """Number what is equal alike, in the order of first sight.

    Returns:
        int64 (examples,), the unit of each example; int64 (units,), the first example of each.
    """
    numbers: dict[Hashable, int] = {}
    unit_of = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return unit_of, np.unique(unit_of, return_index=True)[1]


def carve_splits(
    unit_labels: IntArray,
    unit_of: IntArray,
    fractions: Mapping[SplitName, float],
    *,
    seed: int,
) -> dict[SplitName, IntArray]:
    """Divide a pool into train and the asked splits, the same share of every class.

    A unit, which is whatever must stay together, goes to one side as a whole. Each split takes its
    fraction of every class's units (rounded, at least one, and never the last that another split
    needs), in the order of `fractions`.

    Args:
        unit_labels: int64 (units,), the class of each; a class has none, or as many as there are
            splits.
        unit_of: int64 (examples,), the unit of each example.
        fractions: of the whole pool, by split; the rest is `"train"`.
        seed: rules the draw.

    Returns:
        Sorted indices into the pool, for `"train"` and each key of `fractions`; together they are
        every index once.
    """
    sides: tuple[SplitName, ...] = ("train", *fractions)
    side_of_unit = np.zeros(len(unit_labels), dtype=np.int64)
    generator = np.random.default_rng(seed)
    for label in range(int(unit_labels.max(initial=-1)) + 1):
        members = generator.permutation(np.flatnonzero(unit_labels == label))
        start = 0
        for side, fraction in enumerate(fractions.values(), start=1):
            # Leave one unit for train and for each split still to come.
            most = len(members) - start - 1 - (len(fractions) - side)
            count = max(0, min(max(1, round(fraction * len(members))), most))
            side_of_unit[members[start : start + count]] = side
            start += count
    side_of = side_of_unit[unit_of]
    return {
        split: np.flatnonzero(side_of == side).astype(np.int64) for side, split in enumerate(sides)
    }


@dataclass(frozen=True)
class TextSplit:
    """One split: texts with a label each.

    Attributes:
        texts: the texts, as they were read.
        labels: int64 (examples,), an index into the class names.
        names: where each text came from (`FILE:LINE` or a path); empty where it has no place.
    """

    texts: tuple[str, ...]
    labels: IntArray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def identity(self) -> bytes:
        """What tells these texts, in this order, from others."""
        return bytes.fromhex(texts_sha256(self.texts))

    def subset(self, indices: IntArray) -> TextSplit:
        """The examples at `indices`, in that order."""
        names = tuple(self.names[i] for i in indices) if self.names else ()
        texts = tuple(self.texts[i] for i in indices)
        return replace(self, texts=texts, labels=self.labels[indices], names=names)


@dataclass(frozen=True)
class TextDataset:
    """A data set ready for training.

    Attributes:
        name: what the data set is called in reports.
        class_names: the name of each label, in label order.
        train, validation, test: the splits; validation or test may be absent.
        source: where the data came from, in words for people.
        sha256: hash of each file, by name.
        skipped: rows or files left out at the user's request.
        notes: remarks that a report must repeat (duplicates across splits, say).
    """

    name: str
    class_names: tuple[str, ...]
    train: TextSplit
    validation: TextSplit | None
    test: TextSplit | None
    source: str
    sha256: dict[str, str]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


def text_sha256(text: str) -> bytes:
    """32 bytes that stand for a text; lone surrogates count too."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def texts_sha256(texts: Iterable[str]) -> str:
    """One hash over texts in their order, 64 hex digits."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text_sha256(text))
    return digest.hexdigest()


UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSplit:
    """One split: rows of a shared store of decoded images, with a label each.

    Attributes:
        store: uint8 (stored, channels, height, width), an array or a read-only memory map.
        rows: int64 (examples,), where in the store each example lies.
        labels: int64 (examples,), an index into the class names.
        names: the path of each example relative to the data's root; empty where files have none.
    """

    store: UInt8Array
    rows: IntArray
    labels: IntArray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: IntArray) -> UInt8Array:
        """Images of the examples at `indices`: uint8 (len(indices), channels, height, width)."""
        return np.asarray(self.store[self.rows[indices]])

    def identity(self) -> bytes:
        """What tells these rows of the store from others."""
        return self.rows.tobytes()

    def subset(self, indices: IntArray) -> ImageSplit:
        """The same store seen through fewer examples; no pixel is copied."""
        names = tuple(self.names[i] for i in indices) if self.names else ()
        return replace(self, rows=self.rows[indices], labels=self.labels[indices], names=names)


@dataclass(frozen=True)
class ImageDataset:
    """A data set ready for training: splits of equal image shape.

    Attributes:
        name: what the data set is called in reports.
        class_names: the name of each label, in label order.
        train, validation, test: the splits; validation or test may be absent.
        source: where the data came from, in words for people.
        sha256: hash of each file or of the decoded store, by name.
        skipped: files left out at the user's request.
        notes: remarks that a report must repeat (duplicates across splits, say).
    """

    name: str
    class_names: tuple[str, ...]
    train: ImageSplit
    validation: ImageSplit | None
    test: ImageSplit | None
    source: str
    sha256: dict[str, str]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        channels, height, width = self.train.store.shape[1:]
        return channels, height, width
