"""What a path holds: one table, a table for each split, or folders of text files.

A folder with a table called `train` (`train.csv`, or the shards `train-00000-of-00002.parquet`) is
read as a table for each split; files with other names are left alone. Any other folder is one of
class folders. Nothing is opened here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from qkv.errors import DataError
from qkv.labelled import SPLIT_NAMES, SPLIT_OF_NAME, SplitName
from qkv.text.table.formats import is_table

_NAME = re.compile(r"(?P<split>[a-z]+)(?P<shard>-[0-9]+-of-[0-9]+)?")
_SPLIT_OF_FILE: dict[str, SplitName] = {**SPLIT_OF_NAME, "dev": "validation"}


@dataclass(frozen=True)
class TableFiles:
    """The tables of a data set.

    Attributes:
        root: the file, or the folder that holds the files.
        has_splits: whether each split has its own files.
        files: the files of each split, in order; one undivided table is `"train"`.
    """

    root: Path
    has_splits: bool
    files: dict[SplitName, tuple[Path, ...]]


def find_tables(path: str | os.PathLike[str]) -> TableFiles | None:
    """The tables that a path stands for; None if it is a folder of folders.

    Raises:
        DataError: there is nothing, or the tables of a folder are ambiguous.
    """
    given = Path(path)
    if not given.exists():
        raise DataError(f"there is no file or folder {given}", remedy="check the path")
    if given.is_file():  # a link keeps its own name, since what it points to may have no suffix
        file = given.absolute()
        return TableFiles(file, False, {"train": (file,)})
    root = given.resolve()
    if not root.is_dir():
        raise DataError(f"{given} is neither a file nor a folder", remedy="name a table")
    try:
        entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
        tables = [entry for entry in entries if is_table(entry) and entry.is_file()]
        folders = [entry.name for entry in entries if entry.is_dir()]
    except OSError as error:
        raise DataError(
            f"{given} cannot be listed ({error.strerror})", remedy="check its permissions"
        ) from None
    by_split = {split: _of_split(tables, split) for split in SPLIT_NAMES}
    found: dict[SplitName, tuple[Path, ...]] = {s: files for s, files in by_split.items() if files}
    if not found:
        if tables and not folders:
            raise DataError(
                f"{given} has no table called train ({', '.join(t.name for t in tables[:3])})",
                remedy=f"name the file itself: {given / tables[0].name}",
            )
        return None
    if twice := [name for name in folders if name.casefold() in SPLIT_OF_NAME]:
        raise DataError(
            f"{given} has tables for splits beside the folder {twice[0]}",
            remedy="keep one or the other",
        )
    for split, files in found.items():
        if len(files) > 1 and not all(_is_shard(file) for file in files):
            raise DataError(
                f"{given} has several tables for {split} ({', '.join(f.name for f in files[:3])})",
                remedy="keep one of them",
            )
    return TableFiles(root, True, found)


def _of_split(tables: list[Path], split: SplitName) -> tuple[Path, ...]:
    return tuple(
        table
        for table in tables
        if (name := _NAME.fullmatch(table.stem.casefold()))
        and _SPLIT_OF_FILE.get(name["split"]) == split
    )


def _is_shard(table: Path) -> bool:
    name = _NAME.fullmatch(table.stem.casefold())
    return name is not None and name["shard"] is not None
