"""From a path to labelled texts, row by row: a table, a table for each split, or text files.

A folder with a table called `train` (`train.csv`, or the shards `train-00000-of-00002.parquet`) is
read as a table for each split; files with other names are left alone. Any other folder is one of
class folders, with a text file for each example.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from qkv.data.class_folders import ClassFolders, ExampleFiles, scan_class_folders
from qkv.data.dataset import (
    SPLIT_NAMES,
    SPLIT_OF_NAME,
    SplitFractions,
    SplitName,
    TextSplit,
    refuse_bad,
    texts_sha256,
)
from qkv.data.table_columns import BadCellError, Columns, choose_columns, label_of, text_of
from qkv.data.table_readers import LONGEST, Advance, Table, is_table, not_utf8, open_table
from qkv.errors import DataError
from qkv.progress import Progress

SUFFIX = ".txt"
TEXTS = ExampleFiles(
    what="text files",
    suffixes=frozenset({SUFFIX}),
    only=f"is not a {SUFFIX} file",
    train="train/{class}/….txt",
    remedy="name a table, a folder with a table called train, or one laid out as {class}/….txt",
)
_TABLE_NAME = re.compile(r"(?P<split>[a-z]+)(?P<shard>-[0-9]+-of-[0-9]+)?")
_SPLIT_OF_TABLE: dict[str, SplitName] = {**SPLIT_OF_NAME, "dev": "validation"}
_SHOWN = 3


class TextTableSettings(SplitFractions):
    """Which columns of a table are read, and how its rows are divided."""

    text_column: str | None = Field(default=None, min_length=1)
    """Name of the column of texts. None guesses it where the names leave no doubt."""

    label_column: str | None = Field(default=None, min_length=1)
    """Name of the column of labels. None guesses it where the names leave no doubt."""

    @model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.text_column is not None and self.text_column == self.label_column:
            raise ValueError("text_column and label_column name the same column")
        return self


class TextRow(NamedTuple):
    """A text with its label and where it stands: `name` is `FILE:LINE`, or a file."""

    text: str
    label: str
    name: str
    split: SplitName


@dataclass
class Gathered:
    """What a path holds.

    Attributes:
        root: the file or folder.
        splits: the given splits; `("train",)` for one undivided table or folder.
        has_splits: whether the path itself divides them.
        columns: the columns that were read; None for folders of text files.
        class_folders: the class folders of each split; empty for tables.
        rows: the usable texts, by split.
        bad: (place, reason) of every row or file that cannot be used.
        notes: what a report should say of how it was read.
        sha256: of each table by its name, or of all texts of class folders in their order.
    """

    root: Path
    splits: tuple[SplitName, ...]
    has_splits: bool
    columns: Columns | None = None
    class_folders: dict[SplitName, tuple[str, ...]] = field(default_factory=dict)
    rows: list[TextRow] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)

    def split(self, name: SplitName, numbers: Mapping[str, int]) -> TextSplit:
        """The rows of a split, their labels as numbers."""
        rows = [row for row in self.rows if row.split == name]
        labels = np.array([numbers[row.label] for row in rows], dtype=np.int64)
        return TextSplit(tuple(row.text for row in rows), labels, tuple(row.name for row in rows))

    def refuse_bad(self, *, skip_bad: bool) -> None:
        """Stop where there are no rows at all (DataError), or as the function of this name."""
        kind = "row" if self.columns else "file"
        if not self.bad and not self.rows:
            raise DataError(f"{self.root} has no {kind}s", remedy="name a table with rows")
        refuse_bad(self.bad, len(self.rows), kind=kind, root=self.root, skip_bad=skip_bad)


def gather(
    path: str | os.PathLike[str],
    settings: TextTableSettings,
    *,
    test_only: bool = False,
    progress: Progress | None = None,
) -> Gathered:
    """Read a table, a table for each split, or folders of text files, row by row.

    With `test_only`, only the test split is read where splits are given. `progress` is called with
    (bytes read, all bytes).

    Raises:
        DataError: there is nothing to read, it is ambiguous, or a file is not what it says.
        MissingExtraError: a Parquet file is read without pyarrow.
    """
    given = Path(path)
    if not given.exists():
        raise DataError(f"there is no file or folder {given}", remedy="check the path")
    progress = progress or (lambda *_: None)
    if given.is_file():  # a link keeps its own name, since what it points to may have no suffix
        file = given.absolute()
        return _gather_tables(Gathered(file, ("train",), False), [[file]], settings, progress)
    root = given.resolve()
    tables = _tables_of_splits(root, given)
    if not tables:
        return _gather_folders(scan_class_folders(given, TEXTS), test_only, progress)
    if test_only:
        if "test" not in tables:
            raise DataError(f"{root} has no test table", remedy="name a table itself")
        tables = {"test": tables["test"]}
    elif "train" not in tables:
        names = " and ".join(file.name for files in tables.values() for file in files)
        raise DataError(
            f"{root} has {names} but no train table", remedy="add one, or name a file itself"
        )
    gathered = Gathered(root, tuple(tables), True)
    return _gather_tables(gathered, list(tables.values()), settings, progress)


def _tables_of_splits(root: Path, given: Path) -> dict[SplitName, list[Path]]:
    """The tables of each split in a folder; none if it is a folder of folders."""
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
    found: dict[SplitName, list[Path]] = {}
    for split in SPLIT_NAMES:
        named = [(table, _TABLE_NAME.fullmatch(table.stem.casefold())) for table in tables]
        own = [(t, m["shard"]) for t, m in named if m and _SPLIT_OF_TABLE.get(m["split"]) == split]
        if len(own) > 1 and not all(shard for _, shard in own):
            raise DataError(
                f"{given} has several tables for {split} "
                f"({', '.join(table.name for table, _ in own[:_SHOWN])})",
                remedy="keep one of them",
            )
        if own:
            found[split] = [table for table, _ in own]
    if not found and tables and not folders:
        raise DataError(
            f"{given} has no table called train ({', '.join(t.name for t in tables[:_SHOWN])})",
            remedy=f"name the file itself: {given / tables[0].name}",
        )
    if found and (twice := [name for name in folders if name.casefold() in SPLIT_OF_NAME]):
        raise DataError(
            f"{given} has tables for splits beside the folder {twice[0]}",
            remedy="keep one or the other",
        )
    return found


def _gather_tables(
    gathered: Gathered,
    tables: Sequence[Sequence[Path]],
    settings: TextTableSettings,
    progress: Progress,
) -> Gathered:
    done, total = 0, sum(file.stat().st_size for files in tables for file in files)

    def advance(read: int) -> None:
        progress(done + read, total)

    for split, files in zip(gathered.splits, tables, strict=True):
        for file in files:
            _read_table(file, split, settings, gathered, advance)
            done += file.stat().st_size
            advance(0)
    return gathered


def _read_table(
    file: Path, split: SplitName, settings: TextTableSettings, gathered: Gathered, advance: Advance
) -> None:
    table = open_table(file)
    if first := gathered.columns:  # what the first file is read by holds for all
        columns = choose_columns(table.columns, first.text, first.label, where=file.name)
    else:
        asked = settings.text_column, settings.label_column
        columns = gathered.columns = choose_columns(table.columns, *asked, where=file.name)
        gathered.notes += [columns.note] if columns.note else []
    names = columns.text, columns.label
    for name, (text, label) in usable(table, names, (text_of, label_of), gathered.bad, advance):
        gathered.rows.append(TextRow(text, sys.intern(label), name, split))
    gathered.notes += table.notes
    with file.open("rb") as handle:
        gathered.sha256[file.name] = hashlib.file_digest(handle, "sha256").hexdigest()


def usable(
    table: Table,
    columns: Sequence[str],
    readers: Sequence[Callable[[object], str]],
    bad: list[tuple[str, str]],
    advance: Advance,
) -> Iterator[tuple[str, list[str]]]:
    """The place of every row and its cells, read by a reader each; bad rows go to `bad`."""
    for record in table.read(columns, advance):
        place = f"{table.path.name}:{record.line}"
        try:
            if isinstance(record.values, str):
                raise BadCellError(record.values)
            yield place, [read(cell) for read, cell in zip(readers, record.values, strict=True)]
        except BadCellError as error:
            bad.append((place, str(error)))


def _gather_folders(found: ClassFolders, test_only: bool, progress: Progress) -> Gathered:
    folders = {split: tuple(map(label_of, names)) for split, names in found.class_folders.items()}
    if test_only and found.has_splits:
        if "test" not in folders:
            raise DataError(
                f"{found.root} has no test folder",
                remedy="name a folder with a test split, or one with a folder for each class",
            )
        folders = {"test": folders["test"]}
    gathered = Gathered(found.root, tuple(folders), found.has_splits, class_folders=folders)
    gathered.bad += found.bad
    files = [file for split in folders for file in found.files if file.split == split]
    done, total = 0, sum(file.size_bytes for file in files)
    for file in files:
        try:
            row = TextRow(_read_file(file.path), label_of(file.class_name), file.name, file.split)
        except BadCellError as error:
            gathered.bad.append((file.name, str(error)))
        else:
            gathered.rows.append(row)
        done += file.size_bytes
        progress(done, total)
    gathered.bad.sort()
    gathered.sha256 = {"texts": texts_sha256(row.text for row in gathered.rows)}
    return gathered


def _read_file(path: Path) -> str:
    try:
        if path.stat().st_size > LONGEST:
            raise BadCellError(f"has more than {LONGEST:,} bytes")
        return text_of(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadCellError(not_utf8(error)) from None
    except OSError as error:
        raise BadCellError(f"cannot be read ({error.strerror or error})") from None
