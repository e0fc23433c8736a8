"""What is in a data set, good and bad, as one plain document for `qkv data inspect`.

The document, of JSON values only:

| key | value |
|---|---|
| `source` | the file or folder, or what the data set says of itself |
| `layout` | `"file"`, `"files"` (tables), `"classes"`, `"splits"` (folders) or `"loaded"` |
| `images` or `texts` | how many can be used |
| `splits` | `{split: examples}`; the one split of undivided data is `"undivided"` |
| `classes` | `{class: {split: examples}}`, empty classes included |
| `duplicates` | `{"within_splits": …, "across_splits": …}`: equal images or texts, as groups |
| `warnings` | sentences, the gravest first |

of images:

| key | value |
|---|---|
| `width`, `height` | `{"min", "median", "max"}` in pixels, or null without images |
| `modes`, `formats` | `{name: images}`, most frequent first; a loaded set has no formats |
| `bad_files` | `[{"path", "reason"}]`, all of them |

and of texts:

| key | value |
|---|---|
| `columns` | `{"text", "label"}`, or null without a table |
| `characters` | the quantiles of the lengths, as below; null without texts |
| `tokens` | likewise in word pieces, without the two special tokens; null if not counted |
| `too_long` | `{"positions", "texts", "share"}`: see below; null if not counted |
| `near_duplicates` | as `duplicates`, of texts that differ, but in capitals and white space only |
| `conflicting_labels` | groups of equal texts with different labels |
| `bad_rows` | `[{"path", "reason"}]`: rows (`FILE:LINE`) or files, all of them |
| `notes` | how the texts were read |

Groups are `{"groups", "images" or "texts", "shown"}`: how many groups of equals, how many examples
lie in them, and the first 20: the names of the images, or of texts `{"texts", "names",
"beginning"}`, which is how many there are, where the first 5 stand, and how the text begins.
Quantiles are `{"min", "p5", "p25", "p50", "p75", "p95", "p99", "max"}`. A text is too long if its
pieces and the two special tokens need more than the encoder's `positions`; `share` is of all texts,
0 to 1.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from qkv.data.class_folders import FolderFile
from qkv.data.dataset import (
    ImageDataset,
    IntArray,
    TextDataset,
    groups_of_equals,
    loose_key,
    place_of,
)
from qkv.data.image_decode import ImageFacts, decode, probe
from qkv.data.image_folder import scan_image_folder
from qkv.data.image_store import ordered_map, read_file
from qkv.data.table_columns import in_order, refuse_what_are_no_classes
from qkv.data.text_files import TextTableSettings, gather
from qkv.progress import Progress

SHOWN_GROUPS = 20
SHOWN_NAMES = 5
BEGINNING = 80
"""Characters of a text that are shown."""
SPECIAL_TOKENS = 2
"""What an encoder adds to the pieces of a text: one token before, one after."""
IMBALANCE = 10
"""A class this many times larger than another is worth a warning."""
TINY = 10
"""A class with fewer texts to learn from is worth a warning."""

TokenCounts = Callable[[list[str]], IntArray]
"""How many word pieces each text has, without special tokens."""

_BATCH = 1024
_PERCENTS = {"min": 0, "p5": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "p99": 99, "max": 100}


class _Example(NamedTuple):
    """An image, by the hash of its content, or a text."""

    name: str
    split: str
    class_name: str
    content: str


_Group = Sequence[_Example]
_Classes = dict[str, dict[str, int]]


class _Found(NamedTuple):
    """What an audit goes by; `classes` is `{class: {split: 0}}` of all that a split could have."""

    source: str
    layout: str
    examples: _Group
    splits: Sequence[str]
    classes: _Classes
    bad: Sequence[tuple[str, str]]


def audit_images(
    root: str | os.PathLike[str], *, progress: Progress | None = None
) -> dict[str, Any]:
    """Audit an image folder; every file is decoded once, nothing is kept.

    What would stop training is a warning here, so that one look shows all of it.

    Args:
        root: the folder.
        progress: called with (files done, all files).

    Returns:
        The document that this module describes; equal files are duplicates.

    Raises:
        DataError: there is no folder, or no class folder in it.
    """
    layout = scan_image_folder(root)
    shown = partial(_split_name, has_splits=layout.has_splits)
    examples: list[_Example] = []
    facts: list[ImageFacts] = []
    bad = list(layout.bad)
    for file, result in zip(
        layout.files, ordered_map(_examine, layout.files, progress), strict=True
    ):
        if isinstance(result, str):
            bad.append((file.name, result))
        else:
            facts.append(result[1])
            examples.append(_Example(file.name, shown(file.split), file.class_name, result[0]))
    owned = {shown(split): set(names) for split, names in layout.class_folders.items()}
    found = _Found(
        source=str(layout.root),
        layout="splits" if layout.has_splits else "classes",
        examples=examples,
        splits=list(owned),
        classes=_empty_counts(sorted(set().union(*owned.values())), owned),
        bad=sorted(bad),
    )
    return _image_document(found, facts)


def audit_dataset(dataset: ImageDataset) -> dict[str, Any]:
    """Audit a set of images that has been loaded.

    Returns:
        The document that this module describes; images of equal pixels are duplicates, and sizes
        and modes are those in memory.
    """
    examples: list[_Example] = []
    for name, split in dataset.splits.items():
        for start in range(0, len(split), _BATCH):
            images = split.take(np.arange(start, min(start + _BATCH, len(split))))
            for row, image in enumerate(images, start):
                content = hashlib.sha256(image.tobytes()).hexdigest()
                class_name = dataset.class_names[split.labels[row]]
                examples.append(_Example(place_of(split, name, row), name, class_name, content))
    channels, height, width = dataset.image_shape
    mode = "L" if channels == 1 else "RGB"
    facts = [ImageFacts(width, height, mode, format="", grey=channels == 1)] * len(examples)
    return _image_document(_loaded(dataset, examples), facts)


def audit_texts(
    path: str | os.PathLike[str],
    settings: TextTableSettings | None = None,
    *,
    token_counts: TokenCounts | None = None,
    positions: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Audit a table of texts, a folder with a table for each split, or folders of text files.

    What would stop training is a warning here, so that one look shows all of it.

    Args:
        path: as for `load_text_table`.
        settings: which columns; the defaults if None.
        token_counts: called once with all texts; lengths in tokens are left out if None.
        positions: how many tokens the encoder takes, the two special ones included.
        progress: called with (bytes read, all bytes).

    Returns:
        The document that this module describes.

    Raises:
        DataError: there is nothing at `path`, a file is not what it says, columns are in doubt, or
            the labels are no classes.
        MissingExtraError: a Parquet file is read without pyarrow.
    """
    found = gather(path, settings or TextTableSettings(), progress=progress)
    shown = partial(_split_name, has_splits=found.has_splits)
    if columns := found.columns:
        labels = [row.label for row in found.rows]
        refuse_what_are_no_classes(labels, column=columns.label, where=found.root.name)
        # A table says nothing of classes that it lacks: the first split knows them all.
        first = {row.label for row in found.rows if row.split == found.splits[0]}
        owned = {shown(split): set(first) for split in found.splits}
        for row in found.rows:
            owned[shown(row.split)].add(row.label)
    else:
        owned = {shown(split): set(names) for split, names in found.class_folders.items()}
    whole, divided = ("file", "files") if columns else ("classes", "splits")
    return _text_document(
        _Found(
            source=str(found.root),
            layout=divided if found.has_splits else whole,
            examples=[_Example(r.name, shown(r.split), r.label, r.text) for r in found.rows],
            splits=[shown(split) for split in found.splits],
            classes=_empty_counts(in_order(set().union(*owned.values())), owned),
            bad=found.bad,
        ),
        columns={"text": columns.text, "label": columns.label} if columns else None,
        notes=found.notes,
        token_counts=token_counts,
        positions=positions,
    )


def audit_text_dataset(
    dataset: TextDataset,
    *,
    token_counts: TokenCounts | None = None,
    positions: int | None = None,
) -> dict[str, Any]:
    """Audit a set of texts that has been loaded; see `audit_texts`."""
    examples = [
        _Example(place_of(split, name, index), name, dataset.class_names[label], text)
        for name, split in dataset.splits.items()
        for index, (text, label) in enumerate(zip(split.texts, split.labels, strict=True))
    ]
    return _text_document(
        _loaded(dataset, examples),
        columns=None,
        notes=dataset.notes,
        token_counts=token_counts,
        positions=positions,
    )


def _loaded(dataset: ImageDataset | TextDataset, examples: _Group) -> _Found:
    classes = {name: dict.fromkeys(dataset.splits, 0) for name in dataset.class_names}
    bad = [(skipped.path, skipped.reason) for skipped in dataset.skipped]
    return _Found(dataset.source, "loaded", examples, list(dataset.splits), classes, bad)


def _split_name(split: str, *, has_splits: bool) -> str:
    return split if has_splits else "undivided"


def _empty_counts(names: Iterable[str], owned: Mapping[str, set[str]]) -> _Classes:
    """`{class: {split: 0}}` of every class that a split could have."""
    return {name: {split: 0 for split in owned if name in owned[split]} for name in names}


def _examine(file: FolderFile) -> tuple[str, ImageFacts] | str:
    def look(handle: BinaryIO) -> ImageFacts:
        facts = probe(handle, name=file.name)
        decode(handle, channels=1, name=file.name)
        return facts

    return read_file(file, look)


def _image_document(found: _Found, facts: Sequence[ImageFacts]) -> dict[str, Any]:
    splits = _count(found)
    copies = _equal(found.examples, lambda content: content)
    return {
        "source": found.source,
        "layout": found.layout,
        "images": len(found.examples),
        "splits": splits,
        "classes": found.classes,
        "width": _spread([one.width for one in facts]),
        "height": _spread([one.height for one in facts]),
        "modes": dict(Counter(one.mode for one in facts).most_common()),
        "formats": dict(Counter(one.format for one in facts if one.format).most_common()),
        "duplicates": _by_reach(copies, "image"),
        "bad_files": [{"path": path, "reason": reason} for path, reason in found.bad],
        "warnings": _warnings("image", found, copies, [], bad_kind="file"),
    }


def _text_document(
    found: _Found,
    *,
    columns: dict[str, str] | None,
    notes: Sequence[str],
    token_counts: TokenCounts | None,
    positions: int | None,
) -> dict[str, Any]:
    splits, examples = _count(found), found.examples
    copies = _equal(examples, lambda content: content)
    near = [group for group in _equal(examples, loose_key) if len({e.content for e in group}) > 1]
    lengths = np.array([len(one.content) for one in examples])
    tokens = token_counts([one.content for one in examples]) if token_counts and examples else None
    return {
        "source": found.source,
        "layout": found.layout,
        "columns": columns,
        "texts": len(examples),
        "splits": splits,
        "classes": found.classes,
        "characters": _quantiles(lengths),
        "tokens": None if tokens is None else _quantiles(tokens),
        "too_long": _too_long(tokens, positions),
        "duplicates": _by_reach(copies, "text"),
        "near_duplicates": _by_reach(near, "text"),
        "conflicting_labels": _shown([group for group in copies if _is_torn(group)], "text"),
        "bad_rows": [{"path": path, "reason": reason} for path, reason in found.bad],
        "notes": list(notes),
        "warnings": _warnings("text", found, copies, near, bad_kind="row" if columns else "file"),
    }


def _count(found: _Found) -> dict[str, int]:
    """The examples of each split; they are counted in `classes` too."""
    counts = dict.fromkeys(found.splits, 0)
    for one in found.examples:
        counts[one.split] += 1
        found.classes[one.class_name][one.split] += 1
    return counts


def _equal(examples: _Group, key: Callable[[str], Hashable]) -> list[_Group]:
    groups = groups_of_equals(key(one.content) for one in examples)
    return [[examples[index] for index in group] for group in groups]


def _crosses(group: _Group) -> bool:
    return len({one.split for one in group}) > 1


def _is_torn(group: _Group) -> bool:
    return len({one.class_name for one in group}) > 1


def _by_reach(groups: Sequence[_Group], noun: str) -> dict[str, Any]:
    return {
        "within_splits": _shown([group for group in groups if not _crosses(group)], noun),
        "across_splits": _shown([group for group in groups if _crosses(group)], noun),
    }


def _shown(groups: Sequence[_Group], noun: str) -> dict[str, Any]:
    first = groups[:SHOWN_GROUPS]
    shown: list[Any] = [[one.name for one in group] for group in first]
    if noun == "text":
        shown = [
            {
                "texts": len(group),
                "names": [one.name for one in _most_telling_first(group)[:SHOWN_NAMES]],
                "beginning": group[0].content[:BEGINNING],
            }
            for group in first
        ]
    return {"groups": len(groups), f"{noun}s": sum(map(len, groups)), "shown": shown}


def _most_telling_first(group: _Group) -> _Group:
    """The group with one text of every split, and of every class, before the others."""
    seen: set[tuple[str, str]] = set()
    first: list[_Example] = []
    others: list[_Example] = []
    for one in group:
        marks = {("split", one.split), ("class", one.class_name)}
        (others if marks <= seen else first).append(one)
        seen |= marks
    return first + others


def _spread(values: Sequence[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {"min": min(values), "median": float(np.median(values)), "max": max(values)}


def _quantiles(lengths: npt.NDArray[np.integer[Any]]) -> dict[str, float] | None:
    if not len(lengths):
        return None
    values = np.percentile(lengths, list(_PERCENTS.values())).tolist()
    return {
        name: int(value) if value.is_integer() else value
        for name, value in zip(_PERCENTS, values, strict=True)
    }


def _too_long(tokens: IntArray | None, positions: int | None) -> dict[str, float] | None:
    if tokens is None or positions is None:
        return None
    over = int((tokens + SPECIAL_TOKENS > positions).sum())
    return {"positions": positions, "texts": over, "share": over / len(tokens)}


def _warnings(
    noun: str, data: _Found, copies: Sequence[_Group], near: Sequence[_Group], *, bad_kind: str
) -> list[str]:
    classes, first = data.classes, data.splits[0]
    found: list[str] = []
    if leaks := sum(map(_crosses, copies)):
        found.append(f"{_times(leaks, noun)} in more than one split: the test is not honest")
    if leaks := sum(map(_crosses, near)):
        found.append(
            f"{_times(leaks, noun)} in more than one split but for capitals and white space"
        )
    if data.bad:
        found.append(f"{_times(len(data.bad), bad_kind)} cannot be used")
    if len(classes) == 1:
        found.append("there is a single class; a classifier needs two")
    for name, counts in classes.items():
        if first not in counts:
            found.append(f"class {name!r} is not in {first}")
        by_count = sorted(counts.items(), key=lambda item: item[1])
        for split, count in counts.items() if noun == "text" else by_count:
            if count == 0:
                found.append(f"class {name!r} is empty in {split}")
            elif count == 1:
                found.append(f"class {name!r} has a single {noun} in {split}")
            elif noun == "text" and split == first and count < TINY:
                found.append(f"class {name!r} has only {count} texts in {split}")
    if torn := sum(map(_is_torn, copies)):
        found.append(f"{_times(torn, noun)} in more than one class: the labels disagree")
    sizes = {name: sum(counts.values()) for name, counts in classes.items() if any(counts.values())}
    if sizes:
        large, small = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
        if (times := sizes[large] / sizes[small]) > IMBALANCE:
            found.append(f"class {large!r} has {times:.0f} times the {noun}s of class {small!r}")
    return found


def _times(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
