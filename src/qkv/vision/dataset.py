"""What a labelled set of images is, once it has been read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qkv.errors import DataError

UInt8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]


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

    def subset(self, indices: IntArray) -> ImageSplit:
        """The same store seen through fewer examples; no pixel is copied."""
        names = tuple(self.names[i] for i in indices) if self.names else ()
        return replace(self, rows=self.rows[indices], labels=self.labels[indices], names=names)


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left out, and why."""

    path: str
    reason: str


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
    skipped: tuple[SkippedFile, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        channels, height, width = self.train.store.shape[1:]
        return channels, height, width


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
