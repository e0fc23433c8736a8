"""Folders of class folders: which file belongs to which split and class; no file is opened here.

Two layouts are read:

- splits: `root/{train,val|valid|validation,test}/{class}/…`, when every visible folder in the root
  is called like a split (in any case of letters) and one of them is `train`;
- classes: `root/{class}/…`, otherwise. A class may well be called `train` or `test` so long as it
  is the only one of its kind: two split names beside other folders are refused as ambiguous.

Files may nest to any depth below their class. Hidden files and what desktops leave behind are
ignored, and so is whatever lies outside the class folders, except examples: those are bad files,
because they have no label. Links are followed only from file to file within the root.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qkv.data.dataset import SPLIT_NAMES, SPLIT_OF_NAME, SplitName
from qkv.errors import DataError

_BY_DESKTOPS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass(frozen=True)
class ExampleFiles:
    """What the files of class folders are.

    Attributes:
        what: what they are called in messages.
        suffixes: of such files, in lower case with the dot.
        only: why a file of another suffix is refused; None if its content decides, later.
        train: an example of a file's place below a root with splits.
        remedy: what to do with a folder that is not laid out like this.
    """

    what: str
    suffixes: frozenset[str]
    only: str | None
    train: str
    remedy: str


@dataclass(frozen=True)
class FolderFile:
    """A file below a class folder.

    Attributes:
        name: its path relative to the root, with forward slashes.
        path: where it can be opened.
        split: the split it was given in; `"train"` in a folder without splits.
        class_name: the name of its class folder.
        size_bytes, mtime_ns: as the file system has them, to notice a change.
    """

    name: str
    path: Path
    split: SplitName
    class_name: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class ClassFolders:
    """A folder of class folders as found.

    Attributes:
        root: the folder, with links resolved.
        has_splits: whether the splits were given by folders.
        class_folders: the class folders of each given split, sorted, empty ones included.
        files: every candidate, sorted by name.
        bad: (name, reason) of what cannot be an example, sorted by name.
        empty: class folders without a single file, as paths relative to the root.
    """

    root: Path
    has_splits: bool
    class_folders: dict[SplitName, tuple[str, ...]]
    files: tuple[FolderFile, ...]
    bad: tuple[tuple[str, str], ...]
    empty: tuple[str, ...]


def scan_class_folders(root: Path, kind: ExampleFiles) -> ClassFolders:
    """List the files of a folder with their split and class.

    Raises:
        DataError: the layout is ambiguous, the folder cannot be listed, or no file lies in a class
            folder.
    """
    try:
        return _Scan(root.resolve(), kind).run()
    except OSError as error:
        raise DataError(
            f"{root} cannot be listed ({error.strerror}: {error.filename})",
            remedy="check the folder's permissions",
        ) from None


class _Scan:
    """One walk over a root, gathering files and what is wrong."""

    def __init__(self, root: Path, kind: ExampleFiles) -> None:
        self.root = root
        self.kind = kind
        self.files: list[FolderFile] = []
        self.bad: list[tuple[str, str]] = []

    def run(self) -> ClassFolders:
        top = self._folders(self.root)
        splits = self._splits(top)
        classes: dict[SplitName, tuple[str, ...]] = {}
        empty: list[str] = []
        for split, folder in (splits or {"train": self.root}).items():
            classes[split] = tuple(self._folders(folder) if splits else top)
            for name in classes[split]:
                entries = list(_walk(folder / name))
                for entry in entries:
                    self._add(entry, split, name)
                if not entries:
                    empty.append(f"{split}/{name}" if splits else name)
        if not any(classes.values()):
            raise DataError(f"{self.root} has no class folders", remedy=self.kind.remedy)
        if not self.files and not self.bad:
            raise DataError(
                f"{self.root} has no {self.kind.what} in its class folders", remedy=self.kind.remedy
            )
        self.files.sort(key=lambda file: file.name)
        files, bad = tuple(self.files), tuple(sorted(self.bad))
        return ClassFolders(self.root, bool(splits), classes, files, bad, tuple(empty))

    def _splits(self, folders: list[str]) -> dict[SplitName, Path]:
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
            if twin := splits.get(split):
                raise DataError(
                    f"{self.root} has two {split} folders ({twin.name} and {name})",
                    remedy="keep one of them",
                )
            splits[split] = self.root / name
        if "train" not in splits:
            raise DataError(
                f"{self.root} has {' and '.join(named)} but no train folder",
                remedy=f"add {self.kind.train}",
            )
        return {split: splits[split] for split in SPLIT_NAMES if split in splits}

    def _folders(self, folder: Path) -> list[str]:
        """The names of the folders in a folder; examples beside them are refused."""
        names: list[str] = []
        for entry in _visible(folder):
            if not entry.is_dir():
                if self._is_example(entry):
                    self._refuse(entry, "lies outside any class folder, so it has no label")
            elif entry.is_symlink():
                self._refuse(entry, "is a link to a folder, which is not followed")
            elif _is_utf8(entry.name):
                names.append(entry.name)
            else:
                self._refuse(entry, "its name is not valid UTF-8")
        return names

    def _add(self, entry: os.DirEntry[str], split: SplitName, class_name: str) -> None:
        path = Path(entry.path)
        if not _is_utf8(entry.path):
            return self._refuse(entry, "its name is not valid UTF-8")
        if self.kind.only is not None and not self._is_example(entry):
            return self._refuse(entry, self.kind.only)
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
        self.files.append(
            FolderFile(name, path, split, class_name, facts.st_size, facts.st_mtime_ns)
        )
        return None

    def _is_example(self, entry: os.DirEntry[str]) -> bool:
        return Path(entry.name).suffix.lower() in self.kind.suffixes

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
        kept = [e for e in entries if e.name[0] != "." and e.name.casefold() not in _BY_DESKTOPS]
    return sorted(kept, key=lambda entry: entry.name)


def _is_utf8(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)
