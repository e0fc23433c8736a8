"""What a labelled set of images is, once it has been read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qkv.labelled import IntArray, Skipped

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
