"""IMDB as it was published: one text file for each review, in a folder or a tar archive."""

from __future__ import annotations

import os
import re
from pathlib import Path

from qkv.errors import DataError
from qkv.sources import archive_members, read_verified
from qkv.text.imdb.facts import CLASS_NAMES, SPLITS, ImdbFacts
from qkv.text.imdb.reviews import Pair, Reviews, check_counts, gather

ROOT = "aclImdb"

_MEMBER = re.compile(rf"{ROOT}/(train|test)/(neg|pos)/[0-9]+_[0-9]+\.txt")
_REMEDY = "unpack the official archive again"


def review_folders(folder: Path) -> dict[str, Path]:
    """The folders `train/neg`, … of `folder/aclImdb` or `folder`; none, or some, or all four."""
    found: dict[str, Path] = {}
    for root in (folder, folder / ROOT):
        names = [f"{split}/{name}" for split in SPLITS for name in CLASS_NAMES]
        here = {name: root / name for name in names if (root / name).is_dir()}
        found = max(here, found, key=len)
    return found


def read_folders(folders: dict[str, Path], facts: ImdbFacts) -> Reviews:
    """The data set out of its four folders of `*.txt` files; other files are passed over.

    Raises:
        DataError: a file cannot be read or is not UTF-8, or the counts are wrong.
    """
    where = str(folders[f"train/{CLASS_NAMES[0]}"].parents[1])
    pairs: dict[str, list[Pair]] = {}
    for split in SPLITS:
        listed = [
            (path, label)
            for label, name in enumerate(CLASS_NAMES)
            for path in _text_files(folders[f"{split}/{name}"])
        ]
        # Before 25,000 files are opened.
        check_counts(split, [label for _, label in listed], facts, where=where, remedy=_REMEDY)
        pairs[split] = [(_decoded(_content(path), str(path)), label) for path, label in listed]
    return gather(pairs, facts, where=where, remedy=_REMEDY)


def read_archive(path: Path, facts: ImdbFacts) -> Reviews:
    """The data set out of the official archive, whose hash is checked before it is opened.

    Raises:
        DataError: the archive is another or damaged, or what it holds is not the data set.
    """
    # Checked, and let go: what is wanted of it is taken from a stream.
    read_verified(facts.archive, path)
    pairs: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    members = archive_members(path, lambda name: bool(_MEMBER.fullmatch(name)), facts.limits)
    for name, content in members:
        _, split, label, _ = name.split("/")
        pairs[split].append((_decoded(content, f"{path}: {name}"), CLASS_NAMES.index(label)))
    return gather(pairs, facts, where=str(path), remedy=facts.archive.remedy)


def _text_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry) for entry in entries if entry.name.endswith(".txt")]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(found)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _decoded(content: bytes, where: str) -> str:
    """The text exactly: no newline is translated."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8", remedy=_REMEDY) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}", remedy="make it readable")
