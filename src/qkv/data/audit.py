"""What is in a set of images, good and bad, as one plain document for `qkv data inspect`.

The document, of JSON values only:

| key | value |
|---|---|
| `source` | the folder, or what the data set says of itself |
| `layout` | `"splits"`, `"classes"` (undivided) or `"loaded"` |
| `images` | how many can be used |
| `splits` | `{split: images}`; the one split of an undivided folder is `"undivided"` |
| `classes` | `{class: {split: images}}`, empty classes included |
| `width`, `height` | `{"min", "median", "max"}` in pixels, or null without images |
| `modes`, `formats` | `{name: images}`, most frequent first; a loaded set has no formats |
| `duplicates` | `{"within_splits": …, "across_splits": …}`, each as below |
| `bad_files` | `[{"path", "reason"}]`, all of them |
| `warnings` | sentences, the gravest first |

Duplicates are `{"groups", "images", "shown"}`: how many groups of equal images, how many images lie
in them, and the names in the first 20 groups.


From texts with their splits and classes to the document of an audit.

What is in a set of texts, good and bad, as one plain document for `qkv data inspect`.

The document, of JSON values only:

| key | value |
|---|---|
| `source` | the file or folder, or what the data set says of itself |
| `layout` | `"file"`, `"files"` (one a split), `"classes"`, `"splits"` (folders) or `"loaded"` |
| `columns` | `{"text", "label"}`, or null without a table |
| `texts` | how many can be used |
| `splits` | `{split: texts}`; the one split of undivided texts is `"undivided"` |
| `classes` | `{class: {split: texts}}`, empty classes included |
| `characters` | the quantiles of the lengths, as below; null without texts |
| `tokens` | likewise in word pieces, without the two special tokens; null if not counted |
| `too_long` | `{"positions", "texts", "share"}`: see below; null if not counted |
| `duplicates` | `{"within_splits": …, "across_splits": …}`: equal texts, as below |
| `near_duplicates` | the same for texts that differ, but in capitals and white space only |
| `conflicting_labels` | groups of equal texts with different labels |
| `bad_rows` | `[{"path", "reason"}]`: rows (`FILE:LINE`) or files, all of them |
| `notes` | how the texts were read |
| `warnings` | sentences, the gravest first |

Quantiles are `{"min", "p5", "p25", "p50", "p75", "p95", "p99", "max"}`. A text is too long if its
pieces and the two special tokens need more than the encoder's `positions`; `share` is of all texts,
0 to 1. Groups are `{"groups", "texts", "shown"}`: how many groups, how many texts lie in them, and
of the first 20 `{"texts", "names", "beginning"}`: how many there are, where the first 5 stand, and
how the text begins.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qkv.data.class_folders import FolderFile
from qkv.data.dataset import ImageDataset, IntArray, TextDataset, text_sha256
from qkv.data.image_decode import ImageFacts, decode, probe
from qkv.data.image_folder import scan_image_folder
from qkv.data.image_store import ordered_map
from qkv.data.table_columns import in_order, refuse_what_are_no_classes
from qkv.data.text_table import TextTableSettings, gather, groups_of_equals, loose_key, name_of
from qkv.errors import ImageError

SHOWN_GROUPS = 20
IMBALANCE = 10
"""A class this many times larger than another is worth a warning."""

_BATCH = 1024


@dataclass(frozen=True)
class _Entry:
    name: str
    split: str
    class_name: str
    content: str


def audit_images(
    root: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
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
    names = {split: split if layout.has_splits else "undivided" for split in layout.class_folders}
    entries: list[_Entry] = []
    facts: list[ImageFacts] = []
    bad = list(layout.bad)
    for file, result in zip(
        layout.files, ordered_map(_examine, layout.files, progress), strict=True
    ):
        if isinstance(result, str):
            bad.append((file.name, result))
            continue
        content, one = result
        facts.append(one)
        entries.append(_Entry(file.name, names[file.split], file.class_name, content))
    classes = {
        name: {names[split]: 0 for split, owned in layout.class_folders.items() if name in owned}
        for name in sorted({name for owned in layout.class_folders.values() for name in owned})
    }
    return _document(
        source=str(layout.root),
        layout="splits" if layout.has_splits else "classes",
        entries=entries,
        classes=classes,
        splits=list(names.values()),
        sizes=[(one.width, one.height) for one in facts],
        modes=Counter(one.mode for one in facts),
        formats=Counter(one.format for one in facts),
        bad=sorted(bad),
    )


def audit_dataset(dataset: ImageDataset) -> dict[str, Any]:
    """Audit a data set that has been loaded.

    Returns:
        The document that this module describes; images of equal pixels are duplicates, and sizes
        and modes are those in memory.
    """
    given = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    splits = {name: split for name, split in given.items() if split is not None}
    entries: list[_Entry] = []
    for name, split in splits.items():
        for start in range(0, len(split), _BATCH):
            stop = min(start + _BATCH, len(split))
            for offset, image in enumerate(split.take(np.arange(start, stop))):
                row = start + offset
                entries.append(
                    _Entry(
                        split.names[row] if split.names else f"{name}/{row}",
                        name,
                        dataset.class_names[split.labels[row]],
                        hashlib.sha256(image.tobytes()).hexdigest(),
                    )
                )
    channels, height, width = dataset.image_shape
    return _document(
        source=dataset.source,
        layout="loaded",
        entries=entries,
        classes={name: dict.fromkeys(splits, 0) for name in dataset.class_names},
        splits=list(splits),
        sizes=[(width, height)],
        modes=Counter({"L" if channels == 1 else "RGB": len(entries)}),
        formats=Counter(),
        bad=[(file.path, file.reason) for file in dataset.skipped],
    )


def _examine(file: FolderFile) -> tuple[str, ImageFacts] | str:
    try:
        with file.path.open("rb") as handle:
            content = hashlib.file_digest(handle, "sha256").hexdigest()
            facts = probe(handle, name=file.name)
            decode(handle, channels=1, name=file.name)
    except ImageError as error:
        return error.problem.removeprefix(f"{file.name}: ")
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return content, facts


def _document(
    *,
    source: str,
    layout: str,
    entries: Sequence[_Entry],
    classes: dict[str, dict[str, int]],
    splits: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    modes: Counter[str],
    formats: Counter[str],
    bad: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    for entry in entries:
        classes[entry.class_name][entry.split] += 1
    groups: defaultdict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.content].append(entry)
    copies = [group for group in groups.values() if len(group) > 1]
    across = [group for group in copies if len({entry.split for entry in group}) > 1]
    within = [group for group in copies if len({entry.split for entry in group}) == 1]
    per_split = Counter(entry.split for entry in entries)
    return {
        "source": source,
        "layout": layout,
        "images": len(entries),
        "splits": {split: per_split[split] for split in splits},
        "classes": classes,
        "width": _spread([width for width, _ in sizes]),
        "height": _spread([height for _, height in sizes]),
        "modes": dict(modes.most_common()),
        "formats": dict(formats.most_common()),
        "duplicates": {"within_splits": _shown(within), "across_splits": _shown(across)},
        "bad_files": [{"path": path, "reason": reason} for path, reason in bad],
        "warnings": _warnings(classes, splits, copies, len(across), len(bad)),
    }


def _spread(values: Sequence[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {"min": min(values), "median": float(np.median(values)), "max": max(values)}


def _shown(groups: Sequence[Sequence[_Entry]]) -> dict[str, Any]:
    return {
        "groups": len(groups),
        "images": sum(len(group) for group in groups),
        "shown": [[entry.name for entry in group] for group in groups[:SHOWN_GROUPS]],
    }


def _warnings(
    classes: Mapping[str, Mapping[str, int]],
    splits: Sequence[str],
    copies: Sequence[Sequence[_Entry]],
    leaks: int,
    bad: int,
) -> list[str]:
    found: list[str] = []
    if leaks:
        found.append(f"{_times(leaks, 'image')} in more than one split: the test is not honest")
    if bad:
        found.append(f"{_times(bad, 'file')} cannot be used")
    if len(classes) == 1:
        found.append("there is a single class; a classifier needs two")
    first = splits[0]
    for name, counts in classes.items():
        if first not in counts:
            found.append(f"class {name!r} is not in {first}")
        found += [f"class {name!r} is empty in {s}" for s, n in counts.items() if n == 0]
        found += [f"class {name!r} has a single image in {s}" for s, n in counts.items() if n == 1]
    torn = sum(len({entry.class_name for entry in group}) > 1 for group in copies)
    if torn:
        found.append(f"{_times(torn, 'image')} in more than one class: the labels disagree")
    sizes = {name: sum(counts.values()) for name, counts in classes.items()}
    filled = {name: size for name, size in sizes.items() if size}
    if filled:
        large, small = max(filled, key=filled.__getitem__), min(filled, key=filled.__getitem__)
        if filled[large] > IMBALANCE * filled[small]:
            found.append(
                f"class {large!r} has {filled[large] / filled[small]:.0f} times the images of "
                f"class {small!r}"
            )
    return found


def _times(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


SHOWN_NAMES = 5
BEGINNING = 80
"""Characters of a text that are shown."""
SPECIAL_TOKENS = 2
"""What an encoder adds to the pieces of a text: one token before, one after."""
TINY = 10
"""A class with fewer texts to learn from is worth a warning."""

_QUANTILES = {
    "min": 0.0,
    "p5": 0.05,
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p95": 0.95,
    "p99": 0.99,
    "max": 1.0,
}

TokenCounts = Callable[[list[str]], IntArray]
"""How many word pieces each text has, without special tokens."""


class Entry(NamedTuple):
    """One text: where it stands, in which split and class."""

    text: str
    name: str
    split: str
    class_name: str


@dataclass
class Found:
    """What an audit goes by; the fields are those of the document.

    Attributes:
        classes: `{class: {split: 0}}` of every class that a split could have.
    """

    source: str
    layout: str
    entries: list[Entry]
    splits: list[str]
    classes: dict[str, dict[str, int]]
    columns: dict[str, str] | None = None
    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def assemble(
    found: Found, token_counts: TokenCounts | None, positions: int | None
) -> dict[str, Any]:
    """The document that `qkv.data.audit` describes.

    Args:
        found: the texts; counts are added to its `classes`.
        token_counts: called once with all texts; lengths in tokens are left out if None.
        positions: how many tokens the encoder takes, the two special ones included.
    """
    entries = found.entries
    for entry in entries:
        found.classes[entry.class_name][entry.split] += 1
    per_split = Counter(entry.split for entry in entries)
    copies = _groups(entries, [text_sha256(entry.text) for entry in entries])
    near = [
        group
        for group in _groups(entries, [loose_key(entry.text) for entry in entries])
        if len({entry.text for entry in group}) > 1
    ]
    torn = [group for group in copies if len({entry.class_name for entry in group}) > 1]
    tokens = None
    if token_counts is not None and entries:
        tokens = token_counts([entry.text for entry in entries])
    return {
        "source": found.source,
        "layout": found.layout,
        "columns": found.columns,
        "texts": len(entries),
        "splits": {split: per_split[split] for split in found.splits},
        "classes": found.classes,
        "characters": _quantiles(np.array([len(entry.text) for entry in entries])),
        "tokens": None if tokens is None else _quantiles(tokens),
        "too_long": _too_long(tokens, positions),
        "duplicates": _by_reach(copies),
        "near_duplicates": _by_reach(near),
        "conflicting_labels": _shown_texts(torn),
        "bad_rows": [{"path": path, "reason": reason} for path, reason in found.bad],
        "notes": found.notes,
        "warnings": _text_warnings(found, copies, near, len(torn)),
    }


def _groups(entries: Sequence[Entry], keys: Sequence[bytes]) -> list[list[Entry]]:
    return [[entries[index] for index in group] for group in groups_of_equals(keys)]


def _crosses(group: Sequence[Entry]) -> bool:
    return len({entry.split for entry in group}) > 1


def _by_reach(groups: Sequence[Sequence[Entry]]) -> dict[str, Any]:
    return {
        "within_splits": _shown_texts([group for group in groups if not _crosses(group)]),
        "across_splits": _shown_texts([group for group in groups if _crosses(group)]),
    }


def _shown_texts(groups: Sequence[Sequence[Entry]]) -> dict[str, Any]:
    return {
        "groups": len(groups),
        "texts": sum(len(group) for group in groups),
        "shown": [
            {
                "texts": len(group),
                "names": [entry.name for entry in _first_of_each_split(group)[:SHOWN_NAMES]],
                "beginning": group[0].text[:BEGINNING],
            }
            for group in groups[:SHOWN_GROUPS]
        ],
    }


def _first_of_each_split(group: Sequence[Entry]) -> list[Entry]:
    """The group with one text of every split, and of every class, before the others."""
    seen: set[str] = set()
    first: list[Entry] = []
    others: list[Entry] = []
    for entry in group:
        marks = {f"split {entry.split}", f"class {entry.class_name}"}
        (others if marks <= seen else first).append(entry)
        seen |= marks
    return first + others


def _quantiles(lengths: npt.NDArray[np.integer[Any]]) -> dict[str, float] | None:
    if not len(lengths):
        return None
    values = np.quantile(lengths, list(_QUANTILES.values())).tolist()
    return {
        name: int(value) if value.is_integer() else value
        for name, value in zip(_QUANTILES, values, strict=True)
    }


def _too_long(tokens: IntArray | None, positions: int | None) -> dict[str, float] | None:
    if tokens is None or positions is None:
        return None
    over = int((tokens + SPECIAL_TOKENS > positions).sum())
    return {"positions": positions, "texts": over, "share": over / len(tokens)}


def _text_warnings(
    found: Found, copies: Sequence[Sequence[Entry]], near: Sequence[Sequence[Entry]], torn: int
) -> list[str]:
    warnings: list[str] = []
    if leaks := sum(map(_crosses, copies)):
        warnings.append(f"{_times(leaks, 'text')} in more than one split: the test is not honest")
    if leaks := sum(map(_crosses, near)):
        warnings.append(
            f"{_times(leaks, 'text')} in more than one split but for capitals and white space"
        )
    if found.bad:
        what = "row" if found.columns else "file"
        warnings.append(f"{_times(len(found.bad), what)} cannot be used")
    if len(found.classes) == 1:
        warnings.append("there is a single class; a classifier needs two")
    warnings += _class_warnings(found.classes, found.splits[0])
    if torn:
        warnings.append(f"{_times(torn, 'text')} in more than one class: the labels disagree")
    sizes = {name: sum(counts.values()) for name, counts in found.classes.items()}
    filled = {name: size for name, size in sizes.items() if size}
    if filled:
        large, small = max(filled, key=filled.__getitem__), min(filled, key=filled.__getitem__)
        if filled[large] > IMBALANCE * filled[small]:
            warnings.append(
                f"class {large!r} has {filled[large] / filled[small]:.0f} times the texts of "
                f"class {small!r}"
            )
    return warnings


def _class_warnings(classes: Mapping[str, Mapping[str, int]], first: str) -> list[str]:
    warnings: list[str] = []
    for name, counts in classes.items():
        if first not in counts:
            warnings.append(f"class {name!r} is not in {first}")
        for split, count in counts.items():
            if count == 0:
                warnings.append(f"class {name!r} is empty in {split}")
            elif count == 1:
                warnings.append(f"class {name!r} has a single text in {split}")
            elif split == first and count < TINY:
                warnings.append(f"class {name!r} has only {count} texts in {split}")
    return warnings


def audit_texts(
    path: str | os.PathLike[str],
    settings: TextTableSettings | None = None,
    *,
    token_counts: TokenCounts | None = None,
    positions: int | None = None,
    progress: Callable[[int, int], None] | None = None,
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
    gathered = gather(path, settings or TextTableSettings(), progress=progress)
    undivided = {} if gathered.has_splits else {"train": "undivided"}
    entries = [
        Entry(text, name, undivided.get(split, split), label)
        for split, rows in gathered.splits.items()
        for text, name, label in zip(rows.texts, rows.names, rows.labels, strict=True)
    ]
    splits = [undivided.get(split, split) for split in gathered.splits]
    columns: dict[str, str] | None = None
    if gathered.columns:
        columns = {"text": gathered.columns.text, "label": gathered.columns.label}
        labels = [entry.class_name for entry in entries]
        refuse_what_are_no_classes(labels, column=gathered.columns.label, where=gathered.root.name)
        # A table says nothing of classes that it lacks: the first split knows them all.
        owned = {split: {e.class_name for e in entries if e.split == split} for split in splits}
        owned = {split: names | owned[splits[0]] for split, names in owned.items()}
    else:
        owned = {
            undivided.get(s, s): set(names) for s, names in (gathered.class_folders or {}).items()
        }
    classes = {
        name: {split: 0 for split in splits if name in owned[split]}
        for name in in_order(name for names in owned.values() for name in names)
    }
    given, whole = ("files", "file") if columns else ("splits", "classes")
    found = Found(
        source=str(gathered.root),
        layout=given if gathered.has_splits else whole,
        entries=entries,
        splits=splits,
        classes=classes,
        columns=columns,
        bad=gathered.bad,
        notes=gathered.notes,
    )
    return assemble(found, token_counts, positions)


def audit_text_dataset(
    dataset: TextDataset,
    *,
    token_counts: TokenCounts | None = None,
    positions: int | None = None,
) -> dict[str, Any]:
    """Audit a data set that has been loaded.

    Args:
        dataset: the texts.
        token_counts: called once with all texts; lengths in tokens are left out if None.
        positions: how many tokens the encoder takes, the two special ones included.

    Returns:
        The document that this module describes.
    """
    given = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    splits = {name: split for name, split in given.items() if split is not None}
    found = Found(
        source=dataset.source,
        layout="loaded",
        entries=[
            Entry(text, name_of(split, name, index), name, dataset.class_names[label])
            for name, split in splits.items()
            for index, (text, label) in enumerate(zip(split.texts, split.labels, strict=True))
        ],
        splits=list(splits),
        classes={name: dict.fromkeys(splits, 0) for name in dataset.class_names},
        bad=[(skipped.path, skipped.reason) for skipped in dataset.skipped],
        notes=list(dataset.notes),
    )
    return assemble(found, token_counts, positions)
