"""Labelled sets of texts and images: their splits, how a pool is divided, and what is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from qkv.errors import BadFilesError, DataError
from qkv.settings import Settings

IntArray = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]
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

_SHOWN = 3
_SHOWN_LETTERS = 60


@dataclass(frozen=True)
class Skipped:
    """A file, or a row of one (`FILE:LINE`), that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class TextSplit:
    """One split: texts with a label each.

    Attributes:
        texts: the texts, as they were read.
        labels: int64 (examples,), an index into the class names.
        names: where each text came from (`FILE:LINE` or a path); empty where it has no place.
    """

    example: ClassVar[str] = "text"

    texts: tuple[str, ...]
    labels: IntArray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def input(self, index: int) -> str:
        """What a classifier takes: the text."""
        return self.texts[index]

    def identity(self) -> bytes:
        """What tells these texts, in this order, from others."""
        return bytes.fromhex(texts_sha256(self.texts))

    def subset(self, indices: IntArray) -> TextSplit:
        """The examples at `indices`, in that order."""
        texts = tuple(self.texts[i] for i in indices)
        return replace(self, texts=texts, labels=self.labels[indices], names=_at(self, indices))


@dataclass(frozen=True)
class ImageSplit:
    """One split: rows of a shared store of decoded images, with a label each.

    Attributes:
        store: uint8 (stored, channels, height, width), an array or a read-only memory map.
        rows: int64 (examples,), where in the store each example lies.
        labels: int64 (examples,), an index into the class names.
        names: the path of each example relative to the data's root; empty where files have none.
    """

    example: ClassVar[str] = "image"

    store: UInt8Array
    rows: IntArray
    labels: IntArray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: IntArray) -> UInt8Array:
        """Images of the examples at `indices`: uint8 (len(indices), channels, height, width)."""
        return np.asarray(self.store[self.rows[indices]])

    def input(self, index: int) -> UInt8Array:
        """What a classifier takes: uint8 (height, width), or (height, width, 3) in colour."""
        image = self.take(np.array([index], dtype=np.int64))[0]
        return image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))

    def identity(self) -> bytes:
        """What tells these rows of the store from others."""
        return self.rows.tobytes()

    def subset(self, indices: IntArray) -> ImageSplit:
        """The same store seen through fewer examples; no pixel is copied."""
        rows = self.rows[indices]
        return replace(self, rows=rows, labels=self.labels[indices], names=_at(self, indices))


SplitT = TypeVar("SplitT", TextSplit, ImageSplit)


@dataclass(frozen=True)
class Dataset(Generic[SplitT]):
    """A data set ready for training.

    Attributes:
        name: what the data set is called in reports.
        class_names: the name of each label, in label order.
        train, validation, test: the splits; validation or test may be absent.
        source: where the data came from, in words for people.
        sha256: hash of each file, or of the store of decoded images, by name.
        skipped: rows or files left out at the user's request.
        notes: remarks that a report must repeat (duplicates across splits, say).
    """

    name: str
    class_names: tuple[str, ...]
    train: SplitT
    validation: SplitT | None
    test: SplitT | None
    source: str
    sha256: dict[str, str]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, SplitT]:
        """The splits that there are, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def with_validation(self, fraction: float, seed: int) -> Self:
        """With this share of every class of train as the validation split; as it is for 0.

        Raises:
            DataError: a class has a single example, which cannot be on both sides.
        """
        if fraction == 0:
            return self
        wanted: dict[SplitName, float] = {"validation": fraction}
        keys, names = range(len(self.train)), self.class_names
        carved = carve_splits(self.train, keys, wanted, class_names=names, seed=seed)
        return replace(self, train=carved["train"], validation=carved["validation"])


@dataclass(frozen=True)
class TextDataset(Dataset[TextSplit]):
    """A set of labelled texts."""


@dataclass(frozen=True)
class ImageDataset(Dataset[ImageSplit]):
    """A set of labelled images of one shape."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of every image."""
        channels, height, width = self.train.store.shape[1:]
        return channels, height, width


class SplitFractions(Settings):
    """How examples that no split was given for are divided."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the undivided examples for validation, where no such split is given; 0 to 1."""

    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the undivided examples for the test, where no such split is given; 0 to 1."""

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        return self.require_some_to_train()

    def require_some_to_train(self) -> Self:
        """Refuse fractions that leave nothing for train."""
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        return self

    def missing(self, given: Collection[str]) -> dict[SplitName, float]:
        """The fraction of each split that is not given."""
        asked: dict[SplitName, float] = {
            "test": self.test_fraction,
            "validation": self.validation_fraction,
        }
        return {split: share for split, share in asked.items() if split not in given}


def carve_splits(
    pool: SplitT,
    keys: Sequence[Hashable],
    fractions: Mapping[SplitName, float],
    *,
    class_names: Sequence[str],
    seed: int,
) -> dict[SplitName, SplitT]:
    """Divide a pool into train and the splits of `fractions`, the same share of every class.

    Examples of equal key are copies and go to one side together; they count as one example of the
    class of their first. Each split takes its fraction of every class (rounded, at least one, and
    never the last that another split needs), in the order of `fractions`.

    Returns:
        `"train"` and each key of `fractions`: every example of the pool once, in its order.

    Raises:
        DataError: a class has too few distinct examples, see `require_enough`.
    """
    numbers: dict[Hashable, int] = {}
    unit_of = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    first = np.unique(unit_of, return_index=True)[1]
    unit_labels = pool.labels[first]
    sides: tuple[SplitName, ...] = ("train", *fractions)
    noun = f"distinct {pool.example}"
    require_enough(unit_labels, class_names, sides, noun=noun, names=_at(pool, first))
    side_of_unit = np.zeros(len(unit_labels), dtype=np.int64)
    generator = np.random.default_rng(seed)
    for label in range(int(unit_labels.max(initial=-1)) + 1):
        members = generator.permutation(np.flatnonzero(unit_labels == label))
        start = 0
        for side, fraction in enumerate(fractions.values(), start=1):
            # Leave one for train and for each split still to come.
            most = len(members) - start - 1 - (len(fractions) - side)
            count = max(0, min(max(1, round(fraction * len(members))), most))
            side_of_unit[members[start : start + count]] = side
            start += count
    side_of = side_of_unit[unit_of]
    return {split: pool.subset(np.flatnonzero(side_of == side)) for side, split in enumerate(sides)}


def carve_notes(carved: Mapping[SplitName, SplitT], *, seed: int) -> list[str]:
    """What a report says of `carve_splits`: nothing if only train was left."""
    sizes = [f"{len(carved[split]):,} for {split}" for split in SPLIT_NAMES[1:] if split in carved]
    noun = carved["train"].example
    words = f"carved from the train {noun}s by seed {seed}: {' and '.join(sizes)}"
    return [words] if sizes else []


def require_enough(
    labels: IntArray,
    class_names: Sequence[str],
    splits: Sequence[SplitName],
    *,
    noun: str,
    names: Sequence[str] = (),
) -> None:
    """Refuse a class that cannot give each of `splits` an example, and train two if it is alone.

    Raises:
        DataError: naming the first such class, and its example if it has one only.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    needed = max(2, len(splits))
    small = [index for index, count in enumerate(counts) if count < needed]
    if not small:
        return
    count = int(counts[small[0]])
    examples = f"{count} {noun}{'' if count == 1 else 's'}"
    if names and count == 1:
        examples += f" ({names[int(np.flatnonzero(labels == small[0])[0])]})"
    why = f" (one each for {', '.join(splits)})" if len(splits) > 1 else " to train on"
    more = f", and {len(small) - 1} more classes alike" if len(small) > 1 else ""
    raise DataError(
        f"class {quoted(class_names[small[0]])} has {examples}, needs at least {needed}{why}{more}",
        remedy=f"add {noun}s to it or remove it",
    )


def refuse_bad(
    bad: Sequence[tuple[str, str]], good: int, *, kind: str, root: Path, skip_bad: bool
) -> None:
    """Stop where rows or files cannot be used, or, going on without them, where none can.

    `bad` are (place, reason) pairs, `good` counts the others, `kind` is "row" or "file".

    Raises:
        BadFilesError: it lists all of them.
    """
    if not bad or (skip_bad and good):
        return
    count = f"{len(bad):,} of {good + len(bad):,} {kind}s in {root} cannot"
    if not good:
        count = f"none of the {len(bad):,} {kind}s in {root} can"
    save = "save the file as UTF-8, " if any("not UTF-8" in reason for _, reason in bad) else ""
    leave = ", or leave them out with --skip-bad" if good else ""
    raise BadFilesError(
        f"{count} be used: {listed(bad)}", remedy=f"{save}repair or remove them{leave}", files=bad
    )


def listed(bad: Sequence[tuple[str, str]]) -> str:
    """The first bad rows or files with their reasons, and how many more there are."""
    shown = "; ".join(f"{name} {reason}" for name, reason in bad[:_SHOWN])
    return shown + (f"; and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else "")


def equals(groups: Sequence[Sequence[str]]) -> str:
    """The first groups of equal examples, by their names, and how many more there are."""
    return ", ".join(" = ".join(names) for names in groups[:_SHOWN]) + and_more(groups[_SHOWN:])


def and_more(rest: Sequence[object]) -> str:
    """How many more there are than a message names."""
    return f" (and {len(rest):,} more)" if rest else ""


def groups_of_equals(keys: Iterable[Hashable]) -> list[list[int]]:
    """The indices of every key that occurs more than once, in order of first occurrence."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def place_of(split: TextSplit | ImageSplit, split_name: str, index: int) -> str:
    """Where an example came from, or its place in its split."""
    return split.names[index] if split.names else f"{split_name}/{index}"


def quoted(label: str) -> str:
    """A label in a message, cut short if it is a text."""
    return repr(label if len(label) <= _SHOWN_LETTERS else label[:_SHOWN_LETTERS] + "…")


def text_sha256(text: str) -> bytes:
    """32 bytes that stand for a text; lone surrogates count too."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def loose_key(text: str) -> bytes:
    """32 bytes that are equal for texts that differ in capitals and white space only."""
    return text_sha256(" ".join(text.casefold().split()))


def texts_sha256(texts: Iterable[str]) -> str:
    """One hash over texts in their order, 64 hex digits."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text_sha256(text))
    return digest.hexdigest()


def _at(split: TextSplit | ImageSplit, indices: IntArray) -> tuple[str, ...]:
    return tuple(split.names[i] for i in indices) if split.names else ()
