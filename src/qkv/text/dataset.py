"""What a labelled set of texts is, once it has been read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from qkv.labelled import IntArray, Skipped


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
