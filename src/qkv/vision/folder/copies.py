"""Files of equal content within an image folder: a leak between splits, or a torn label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from qkv.class_folders import FolderFile
from qkv.errors import DataError

_SHOWN = 3


def groups_of_copies(
    files: Sequence[FolderFile], contents: Sequence[str]
) -> list[list[FolderFile]]:
    """Every group of two or more files with equal bytes, in order of their first file.

    Args:
        files: any files.
        contents: a hash of the bytes of each.
    """
    groups: defaultdict[str, list[FolderFile]] = defaultdict(list)
    for file, content in zip(files, contents, strict=True):
        groups[content].append(file)
    return [group for group in groups.values() if len(group) > 1]


def refuse_copies_across_splits(files: Sequence[FolderFile], contents: Sequence[str]) -> None:
    """Refuse a folder that gives the same file in two splits: a test on it would prove nothing.

    Raises:
        DataError: naming the first pairs.
    """
    pairs = [
        f"{group[0].name} = {file.name}"
        for group in groups_of_copies(files, contents)
        for file in group[1:]
        if file.split != group[0].split
    ]
    if pairs:
        raise DataError(
            f"the same image lies in two splits: {', '.join(pairs[:_SHOWN])}"
            + and_more(pairs[_SHOWN:]),
            remedy="remove one copy of each",
        )


def copies_across_classes(files: Sequence[FolderFile], contents: Sequence[str]) -> list[str]:
    """At most one remark, naming the first files that carry different labels with equal content."""
    torn = [
        group
        for group in groups_of_copies(files, contents)
        if len({file.class_name for file in group}) > 1
    ]
    if not torn:
        return []
    shown = ", ".join(" = ".join(file.name for file in group) for group in torn[:_SHOWN])
    return [f"the same image under different labels: {shown}" + and_more(torn[_SHOWN:])]


def and_more(rest: Sequence[object]) -> str:
    """What a list that was cut short ends with."""
    return f" (and {len(rest)} more)" if rest else ""
