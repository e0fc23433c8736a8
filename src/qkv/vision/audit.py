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
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qkv.class_folders import FolderFile
from qkv.errors import ImageError
from qkv.vision.dataset import ImageDataset
from qkv.vision.decode import ImageFacts, decode, probe
from qkv.vision.folder.layout import scan_image_folder
from qkv.vision.ordered_map import ordered_map

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
