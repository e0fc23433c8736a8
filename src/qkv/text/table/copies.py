"""The same text twice: on two sides it is a leak, under two labels a contradiction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations

from qkv.text.dataset import TextSplit, text_sha256

_SHOWN = 3

Place = tuple[str, int]
"""The name of a split, and an index in it."""


def loose_key(text: str) -> bytes:
    """32 bytes that are equal for texts that differ in capitals and white space only."""
    return text_sha256(" ".join(text.casefold().split()))


def groups_of_equals(keys: Iterable[Hashable]) -> list[list[int]]:
    """The indices of every key that occurs more than once, in order of first occurrence."""
    first: dict[Hashable, int] = {}
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        if (earlier := first.setdefault(key, index)) != index:
            groups[earlier].append(index)
    return [[index, *groups[index]] for index in sorted(groups)]


def name_of(split: TextSplit, split_name: str, index: int) -> str:
    """Where a text came from, or its place in its split."""
    return split.names[index] if split.names else f"{split_name}/{index}"


def copy_notes(splits: Mapping[str, TextSplit]) -> list[str]:
    """What to say of equal texts within a split, across splits and under different labels."""
    places: list[Place] = [
        (name, index) for name, split in splits.items() for index in range(len(split))
    ]
    groups = [
        [places[index] for index in group]
        for group in groups_of_equals(text_sha256(t) for s in splits.values() for t in s.texts)
    ]
    notes: list[str] = []
    for name in splits:
        within = [size for group in groups if (size := sum(p[0] == name for p in group)) > 1]
        if within:
            notes.append(f"{_texts(len(within))} more than once in {name} ({sum(within):,} rows)")
    for one, other in combinations(splits, 2):
        shared = [
            [next(place for place in group if place[0] == name) for name in (one, other)]
            for group in groups
            if {one, other} <= {name for name, _ in group}
        ]
        if shared:
            notes.append(
                f"{_texts(len(shared))} in both {one} and {other}: {_shown(splits, shared)}"
            )
    torn = [group for group in groups if len({splits[n].labels[i] for n, i in group}) > 1]
    if torn:
        contradictions = [_two_that_differ(splits, group) for group in torn]
        notes.append(
            f"{_texts(len(torn))} under different labels: {_shown(splits, contradictions)}"
        )
    return notes


def _two_that_differ(splits: Mapping[str, TextSplit], group: Sequence[Place]) -> list[Place]:
    labels = [int(splits[name].labels[index]) for name, index in group]
    other = next(place for place, label in zip(group, labels, strict=True) if label != labels[0])
    return [group[0], other]


def _shown(splits: Mapping[str, TextSplit], groups: Sequence[Sequence[Place]]) -> str:
    words = ", ".join(
        " = ".join(name_of(splits[name], name, index) for name, index in group)
        for group in groups[:_SHOWN]
    )
    return words + (f" (and {len(groups) - _SHOWN:,} more)" if len(groups) > _SHOWN else "")


def _texts(count: int) -> str:
    return "1 text occurs" if count == 1 else f"{count:,} texts occur"
