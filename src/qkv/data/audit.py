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
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from qkv.data.class_folders import ClassFolders
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
from qkv.data.text_files import Gathered, TextTableSettings, gather
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
_Groups = Sequence[_Group]


class _Found(NamedTuple):
    """What an audit goes by; `owned` are the classes that each split could have."""

    source: str
    layout: str
    examples: _Group
    owned: Mapping[str, Collection[str]]
    class_names: Sequence[str]
    bad: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()
    columns: Mapping[str, str] | None = None


def audit_images(
    root: str | os.PathLike[str], *, progress: Progress | None = None
) -> dict[str, Any]:
    """Audit an image folder, whose files are decoded once, into the document of this module.

    What would stop training is a warning here, so that one look shows all of it. Equal files are
    duplicates. `progress` is called with (files done, all files).

    Raises:
        DataError: there is no folder, or no class folder in it.
    """
    folder = scan_image_folder(root)
    examples: list[_Example] = []
    facts: list[ImageFacts] = []
    bad = list(folder.bad)
    results = ordered_map(partial(read_file, use=_facts), folder.files, progress)
    for file, result in zip(folder.files, results, strict=True):
        if isinstance(result, str):
            bad.append((file.name, result))
        else:
            split = file.split if folder.has_splits else "undivided"
            facts.append(result[1])
            examples.append(_Example(file.name, split, file.class_name, result[0]))
    layout, owned = _divided(folder, "classes", "splits")
    names = sorted(set().union(*owned.values()))
    return _image_document(
        _Found(str(folder.root), layout, examples, owned, names, sorted(bad)), facts
    )


def audit_dataset(dataset: ImageDataset) -> dict[str, Any]:
    """Audit a set of images that has been loaded; see `audit_images`.

    Images of equal pixels are duplicates; sizes and modes are those in memory.
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

    What would stop training is a warning here, so that one look shows all of it. The result is the
    document of this module; errors as of `load_text_table`.

    Args:
        path: as for `load_text_table`.
        settings: which columns; the defaults if None.
        token_counts: called once with all texts; lengths in tokens are left out if None.
        positions: how many tokens the encoder takes, the two special ones included.
        progress: called with (bytes read, all bytes).
    """
    found = gather(path, settings or TextTableSettings(), progress=progress)
    columns, rows = found.columns, found.rows
    if columns:
        labels = [row.label for row in rows]
        refuse_what_are_no_classes(labels, column=columns.label, where=found.root.name)
        # A table says nothing of classes that it lacks: the first split knows them all.
        first = {row.label for row in rows if row.split == found.splits[0]}
        found.class_folders = {
            split: tuple(first | {row.label for row in rows if row.split == split})
            for split in found.splits
        }
    layout, owned = _divided(found, *(("file", "files") if columns else ("classes", "splits")))
    undivided = None if found.has_splits else "undivided"
    examples = [_Example(row.name, undivided or row.split, row.label, row.text) for row in rows]
    names = in_order(set().union(*owned.values()))
    named = {"text": columns.text, "label": columns.label} if columns else None
    audited = _Found(str(found.root), layout, examples, owned, names, found.bad, found.notes, named)
    return _text_document(audited, token_counts, positions)


def audit_text_dataset(
    dataset: TextDataset, *, token_counts: TokenCounts | None = None, positions: int | None = None
) -> dict[str, Any]:
    """Audit a set of texts that has been loaded; see `audit_texts`."""
    examples = [
        _Example(place_of(split, name, index), name, dataset.class_names[label], text)
        for name, split in dataset.splits.items()
        for index, (text, label) in enumerate(zip(split.texts, split.labels, strict=True))
    ]
    return _text_document(_loaded(dataset, examples), token_counts, positions)


def _loaded(dataset: ImageDataset | TextDataset, examples: _Group) -> _Found:
    names = dataset.class_names
    bad = [(skipped.path, skipped.reason) for skipped in dataset.skipped]
    owned = dict.fromkeys(dataset.splits, names)
    return _Found(dataset.source, "loaded", examples, owned, names, bad, dataset.notes)


def _divided(
    found: ClassFolders | Gathered, whole: str, divided: str
) -> tuple[str, dict[str, tuple[str, ...]]]:
    """The layout, and the classes that each split could have."""
    if found.has_splits:
        return divided, {str(split): names for split, names in found.class_folders.items()}
    return whole, {"undivided": found.class_folders["train"]}


def _facts(handle: BinaryIO) -> ImageFacts:
    facts = probe(handle)
    decode(handle, channels=1)
    return facts


def _image_document(found: _Found, facts: Sequence[ImageFacts]) -> dict[str, Any]:
    return {
        **_document("image", found, _equal(found.examples, lambda one: one.content)),
        "width": _spread([one.width for one in facts]),
        "height": _spread([one.height for one in facts]),
        "modes": dict(Counter(one.mode for one in facts).most_common()),
        "formats": dict(Counter(one.format for one in facts if one.format).most_common()),
        "bad_files": [{"path": path, "reason": reason} for path, reason in found.bad],
    }


def _text_document(
    found: _Found, token_counts: TokenCounts | None, positions: int | None
) -> dict[str, Any]:
    texts = [one.content for one in found.examples]
    copies = _equal(found.examples, lambda one: one.content)
    near = _equal(found.examples, lambda one: loose_key(one.content))
    near = [group for group in near if len({one.content for one in group}) > 1]
    tokens = token_counts(texts) if token_counts and texts else None
    too_long = None
    if tokens is not None and positions is not None:
        over = int((tokens + SPECIAL_TOKENS > positions).sum())
        too_long = {"positions": positions, "texts": over, "share": over / len(tokens)}
    return {
        **_document("text", found, copies, near),
        "columns": found.columns,
        "characters": _quantiles(np.array([len(text) for text in texts])),
        "tokens": None if tokens is None else _quantiles(tokens),
        "too_long": too_long,
        "near_duplicates": _by_reach(near, "text"),
        "conflicting_labels": _shown([group for group in copies if _is_torn(group)], "text"),
        "bad_rows": [{"path": path, "reason": reason} for path, reason in found.bad],
        "notes": list(found.notes),
    }


def _document(noun: str, found: _Found, copies: _Groups, near: _Groups = ()) -> dict[str, Any]:
    """The entries that images and texts have in common."""
    classes = {
        name: {split: 0 for split, owned in found.owned.items() if name in owned}
        for name in found.class_names
    }
    for one in found.examples:
        classes[one.class_name][one.split] += 1
    in_split = Counter(one.split for one in found.examples)
    return {
        "source": found.source,
        "layout": found.layout,
        f"{noun}s": len(found.examples),
        "splits": {split: in_split[split] for split in found.owned},
        "classes": classes,
        "duplicates": _by_reach(copies, noun),
        "warnings": _warnings(noun, found, classes, copies, near),
    }


def _equal(examples: _Group, key: Callable[[_Example], Hashable]) -> list[_Group]:
    groups = groups_of_equals(map(key, examples))
    return [[examples[index] for index in group] for group in groups]


def _crosses(group: _Group) -> bool:
    return len({one.split for one in group}) > 1


def _is_torn(group: _Group) -> bool:
    return len({one.class_name for one in group}) > 1


def _by_reach(groups: _Groups, noun: str) -> dict[str, Any]:
    return {
        "within_splits": _shown([group for group in groups if not _crosses(group)], noun),
        "across_splits": _shown([group for group in groups if _crosses(group)], noun),
    }


def _shown(groups: _Groups, noun: str) -> dict[str, Any]:
    first = groups[:SHOWN_GROUPS]
    texts = [
        {
            "texts": len(group),
            "names": [one.name for one in _most_telling_first(group)[:SHOWN_NAMES]],
            "beginning": group[0].content[:BEGINNING],
        }
        for group in first
    ]
    shown = texts if noun == "text" else [[one.name for one in group] for group in first]
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


def _warnings(
    noun: str, data: _Found, classes: Mapping[str, dict[str, int]], copies: _Groups, near: _Groups
) -> list[str]:
    first = next(iter(data.owned))
    found: list[str] = []
    if leaks := sum(map(_crosses, copies)):
        found.append(f"{_times(leaks, noun)} in more than one split: the test is not honest")
    if leaks := sum(map(_crosses, near)):
        found.append(
            f"{_times(leaks, noun)} in more than one split but for capitals and white space"
        )
    if data.bad:
        kind = "row" if data.columns else "file"
        found.append(f"{_times(len(data.bad), kind)} cannot be used")
    if len(classes) == 1:
        found.append("there is a single class; a classifier needs two")
    for name, counts in classes.items():
        if first not in counts:
            found.append(f"class {name!r} is not in {first}")
        for split, count in counts.items():
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
