"""Folders of text files: which file belongs to which split and class; no file is opened here.

As for images: `root/{train,val|valid|validation,test}/{class}/….txt` when every visible folder in
the root is called like a split and one of them is `train`, else `root/{class}/….txt`. Files may
nest to any depth below their class. Hidden files and what desktops leave behind are ignored; so is
whatever lies outside the class folders, except text files: those have no label. Links are followed
only from file to file within the root.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qkv.errors import DataError
from qkv.text.table.splits import SPLIT_NAMES, SPLIT_OF_NAME, SplitName

SUFFIX = ".txt"
_LEFT_BY_DESKTOPS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_HELP = "name a table, a folder with a table called train, or one laid out as {class}/….txt"


@dataclass(frozen=True)
class TextFile:
    """A text file below a class folder.

    Attributes:
        name: its path relative to the root, with forward slashes.
        path: where it can be opened.
        split: the split it was given in; `"train"` in a folder without splits.
        class_name: the name of its class folder.
        size_bytes: as the file system has it.
    """

    name: str
    path: Path
    split: SplitName
    class_name: str
    size_bytes: int


@dataclass(frozen=True)
class TextFolders:
    """A folder of class folders as found.

    Attributes:
        root: the folder, with links resolved.
        has_splits: whether the splits were given by folders.
        class_folders: the class folders of each given split, sorted, empty ones included.
        files: every candidate, sorted by name.
        bad: (name, reason) of what cannot be an example, sorted by name.
    """

    root: Path
    has_splits: bool
    class_folders: dict[SplitName, tuple[str, ...]]
    files: tuple[TextFile, ...]
    bad: tuple[tuple[str, str], ...]


def scan_text_folders(root: Path) -> TextFolders:
    """List the text files of a folder with their split and class.

    Raises:
        DataError: the layout is ambiguous, the folder cannot be listed, or no file lies in a class
            folder.
    """
    try:
        return _Scan(root.resolve()).run()
    except OSError as error:
        raise DataError(
            f"{root} cannot be listed ({error.strerror}: {error.filename})",
            remedy="check the folder's permissions",
        ) from None


class _Scan:
    """One walk over a root, gathering files and what is wrong."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[TextFile] = []
        self.bad: list[tuple[str, str]] = []

    def run(self) -> TextFolders:
        splits = self._splits()
        classes: dict[SplitName, tuple[str, ...]] = {}
        if splits:
            self._look_for_loose_files(self.root)
            self._folders(self.root)  # refuses a split that is a link
        for split, folder in (splits or {"train": self.root}).items():
            self._look_for_loose_files(folder)
            classes[split] = tuple(self._folders(folder))
            for name in classes[split]:
                for entry in _walk(folder / name):
                    self._add(entry, split, name)
        if not self.files and not self.bad:
            what = "text files in its class folders" if any(classes.values()) else "class folders"
            raise DataError(f"{self.root} has no {what}", remedy=_HELP)
        self.files.sort(key=lambda file: file.name)
        return TextFolders(
            self.root, bool(splits), classes, tuple(self.files), tuple(sorted(self.bad))
        )

    def _splits(self) -> dict[SplitName, Path]:
        folders = self._folders(self.root, note_bad=False)
        named = [name for name in folders if name.casefold() in SPLIT_OF_NAME]
        others = [name for name in folders if name not in named]
        if not named or (others and len(named) == 1):
            return {}
        if others:
            raise DataError(
                f"{self.root} has split folders ({', '.join(named)}) beside others "
                f"({', '.join(others[:3])})",
                remedy="move the others elsewhere, or the class folders into one folder",
            )
        splits: dict[SplitName, Path] = {}
        for name in named:
            split = SPLIT_OF_NAME[name.casefold()]
            if split in splits:
                raise DataError(
                    f"{self.root} has two {split} folders ({splits[split].name} and {name})",
                    remedy="keep one of them",
                )
            splits[split] = self.root / name
        if "train" not in splits:
            raise DataError(
                f"{self.root} has {' and '.join(named)} but no train folder",
                remedy="add train/{class}/….txt",
            )
        return {split: splits[split] for split in SPLIT_NAMES if split in splits}

    def _folders(self, folder: Path, *, note_bad: bool = True) -> list[str]:
        names: list[str] = []
        for entry in _visible(folder):
            if entry.is_dir(follow_symlinks=False) and _has_plain_name(entry.name):
                names.append(entry.name)
            elif note_bad and entry.is_symlink() and entry.is_dir():
                self._refuse(entry, "is a link to a folder, which is not followed")
            elif note_bad and entry.is_dir():
                self._refuse(entry, "its name is not valid UTF-8")
        return names

    def _look_for_loose_files(self, folder: Path) -> None:
        for entry in _visible(folder):
            if entry.name.lower().endswith(SUFFIX) and not entry.is_dir():
                self._refuse(entry, "lies outside any class folder, so it has no label")

    def _add(self, entry: os.DirEntry[str], split: SplitName, class_name: str) -> None:
        path = Path(entry.path)
        if not _has_plain_name(entry.path):
            return self._refuse(entry, "its name is not valid UTF-8")
        if path.suffix.lower() != SUFFIX:
            return self._refuse(entry, f"is not a {SUFFIX} file")
        if entry.is_symlink():
            if not path.exists():
                return self._refuse(entry, "is a link to nothing")
            if path.is_dir():
                return self._refuse(entry, "is a link to a folder, which is not followed")
            if not path.resolve().is_relative_to(self.root):
                return self._refuse(entry, "is a link that leaves the folder")
        facts = entry.stat()
        if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for ever
            return self._refuse(entry, "is not a regular file")
        name = path.relative_to(self.root).as_posix()
        self.files.append(TextFile(name, path, split, class_name, facts.st_size))
        return None

    def _refuse(self, entry: os.DirEntry[str], reason: str) -> None:
        name = Path(entry.path).relative_to(self.root).as_posix()
        self.bad.append((name.encode("utf-8", "backslashreplace").decode(), reason))


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    waiting = [folder]
    while waiting:
        for entry in _visible(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            else:
                yield entry


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        kept = [
            entry
            for entry in entries
            if not entry.name.startswith(".") and entry.name.casefold() not in _LEFT_BY_DESKTOPS
        ]
    return sorted(kept, key=lambda entry: entry.name)


def _has_plain_name(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
