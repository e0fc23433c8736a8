"""From texts with their splits and classes to the document of an audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qkv.labelled import IntArray
from qkv.text.dataset import text_sha256
from qkv.text.table.copies import groups_of_equals, loose_key

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
    """The document that `qkv.text.audit` describes.

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
        "conflicting_labels": _shown(torn),
        "bad_rows": [{"path": path, "reason": reason} for path, reason in found.bad],
        "notes": found.notes,
        "warnings": _warnings(found, copies, near, len(torn)),
    }


def _groups(entries: Sequence[Entry], keys: Sequence[bytes]) -> list[list[Entry]]:
    return [[entries[index] for index in group] for group in groups_of_equals(keys)]


def _crosses(group: Sequence[Entry]) -> bool:
    return len({entry.split for entry in group}) > 1


def _by_reach(groups: Sequence[Sequence[Entry]]) -> dict[str, Any]:
    return {
        "within_splits": _shown([group for group in groups if not _crosses(group)]),
        "across_splits": _shown([group for group in groups if _crosses(group)]),
    }


def _shown(groups: Sequence[Sequence[Entry]]) -> dict[str, Any]:
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


def _warnings(
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


def _times(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
