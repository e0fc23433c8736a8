"""The user's own texts: CSV, TSV, JSONL or Parquet tables, or a folder of text files a class.

A folder with a table called `train` (`train.csv`, or the shards `train-00000-of-00002.parquet`) is
read as a table for each split; files with other names are left alone. Any other folder is one of
class folders.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from qkv.data.class_folders import ClassFolders, ExampleFiles, scan_class_folders
from qkv.data.dataset import (
    SPLIT_NAMES,
    SPLIT_OF_NAME,
    Skipped,
    SplitFractions,
    SplitName,
    TextDataset,
    TextSplit,
    carve_notes,
    carve_splits,
    groups_of_equals,
    listed,
    place_of,
    quoted,
    refuse_bad,
    text_sha256,
    texts_sha256,
)
from qkv.data.table_columns import (
    BadCellError,
    Columns,
    choose_columns,
    choose_text_column,
    in_order,
    label_of,
    refuse_unknown,
    refuse_what_are_no_classes,
    text_of,
    text_or_nothing,
)
from qkv.data.table_readers import LONGEST, Advance, BadRecord, is_table, not_utf8, open_table
from qkv.errors import BadFilesError, DataError
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


def load_text_table(
    path: str | os.PathLike[str],
    settings: TextTableSettings | None = None,
    *,
    seed: int,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> TextDataset:
    """Read a table of texts, a folder with a table for each split, or folders of text files.

    A split that is not given is carved from the train texts: drawn by `seed`, the same share of
    every class. Texts that differ in capitals and white space only stay on one side.

    Args:
        path: a CSV, TSV, JSONL or Parquet file; a folder of `train.*` and maybe `val.*` (`valid`,
            `validation`, `dev`) and `test.*`; or a folder of `{class}/….txt` or
            `{train,val,test}/{class}/….txt`.
        settings: the defaults if None.
        seed: rules which texts go to which carved split.
        skip_bad: leave out rows and files that cannot be used and record them in `skipped`.
        progress: called with (bytes read, all bytes).

    Raises:
        BadFilesError: rows or files cannot be used and `skip_bad` is False; all were tried.
        DataError: there is nothing at `path`; columns are in doubt; labels are no classes, fewer
            than two, or missing from train; a class has too few texts to be divided.
        MissingExtraError: a Parquet file is read without pyarrow.
    """
    settings = settings or TextTableSettings()
    found = gather(path, settings, progress=progress)
    found.refuse_bad(skip_bad=skip_bad)
    class_names = _classes(found)
    numbers = {name: number for number, name in enumerate(class_names)}
    splits = {name: found.split(name, numbers) for name in found.splits}
    splits = {name: split for name, split in splits.items() if len(split)}
    pool = splits["train"]
    carved = carve_splits(
        pool.labels,
        [loose_key(text) for text in pool.texts],
        settings.missing(splits),
        class_names=class_names,
        seed=seed,
        noun="text",
        names=pool.names,
    )
    splits |= {split: pool.subset(indices) for split, indices in carved.items()}
    copies = copy_notes({split: splits[split] for split in SPLIT_NAMES})
    is_file = found.root.is_file()
    return TextDataset(
        name=found.root.stem if is_file else found.root.name,
        class_names=class_names,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        source=f"{'file' if is_file else 'folder'} {found.root}",
        sha256=found.sha256,
        skipped=tuple(Skipped(name, reason) for name, reason in found.bad),
        notes=(*found.notes, *carve_notes(carved, noun="text", seed=seed), *copies),
    )


def load_labelled_texts(
    path: str | os.PathLike[str],
    class_names: Sequence[str],
    settings: TextTableSettings | None = None,
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> tuple[TextSplit, tuple[Skipped, ...]]:
    """Texts as one split labelled by a model's classes, to evaluate it on.

    Where splits are given, these are the test texts; otherwise all texts.

    Args:
        path: as for `load_text_table`.
        class_names: the model's classes, in label order; the texts may lack some of them.
        settings: the columns; the defaults if None.
        skip_bad: leave out rows and files that cannot be used and return them.
        progress: called with (bytes read, all bytes).

    Raises:
        BadFilesError: rows or files cannot be used and `skip_bad` is False; all were tried.
        DataError: there are no such texts, columns are in doubt, or a label is not one of the
            model's; names its first line.
        MissingExtraError: a Parquet file is read without pyarrow.
    """
    found = gather(path, settings or TextTableSettings(), test_only=True, progress=progress)
    found.refuse_bad(skip_bad=skip_bad)
    # The model's classes may come from elsewhere: names that mean the same are the same.
    numbers = {name: number for number, name in enumerate(class_names)}
    numbers = {_as_label(name): number for name, number in numbers.items()} | numbers
    refuse_unknown(
        ((row.label, row.name) for row in found.rows),
        numbers,
        problem="which is not one of the model's",
        remedy=f"the model knows {', '.join(quoted(name) for name in class_names)}",
    )
    skipped = tuple(Skipped(name, reason) for name, reason in found.bad)
    return found.split(found.splits[0], numbers), skipped


def read_texts(
    path: str | os.PathLike[str], text_column: str | None = None
) -> tuple[list[str], list[str]]:
    """The texts of one table, every row of it, whatever its other columns hold.

    A row whose text is empty or missing gives the empty text, so that answers match rows.

    Args:
        path: a CSV, TSV, JSONL or Parquet file.
        text_column: the column of texts. None takes the one that is clearly named, or the only one
            that is neither an index nor named like labels.

    Returns:
        The place of each text as `FILE:LINE`, and the texts.

    Raises:
        BadFilesError: rows cannot be read; lists them all.
        DataError: the file is missing or no table, or the column is missing or in doubt.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    file = Path(path)
    table = open_table(file)
    column = choose_text_column(table.columns, text_column, where=file.name)
    names: list[str] = []
    texts: list[str] = []
    bad: list[tuple[str, str]] = []
    for record in table.read((column,), lambda _: None):
        place = f"{file.name}:{record.line}"
        try:
            if isinstance(record, BadRecord):
                raise BadCellError(record.reason)
            texts.append(text_or_nothing(record.values[0]))
            names.append(place)
        except BadCellError as error:
            bad.append((place, error.reason))
    if bad:
        raise BadFilesError(
            f"{len(bad):,} of {len(bad) + len(texts):,} rows in {file} cannot be read: "
            + listed(bad),
            remedy="repair or remove them",
            files=bad,
        )
    return names, texts


class TextRow(NamedTuple):
    """A labelled text.

    Attributes:
        text: the text.
        label: its label, as a word.
        name: where it stands: `FILE:LINE`, or a file.
        split: the split it is given in.
    """

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
        """Stop where rows or files cannot be used, see `refuse_bad`, or where there are none.

        Raises:
            BadFilesError: it lists all that cannot be used.
            DataError: there are no rows at all.
        """
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

    Args:
        path: what to read.
        settings: which columns.
        test_only: read only the test split where splits are given.
        progress: called with (bytes read, all bytes).

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


def loose_key(text: str) -> bytes:
    """32 bytes that are equal for texts that differ in capitals and white space only."""
    return text_sha256(" ".join(text.casefold().split()))


def copy_notes(splits: Mapping[str, TextSplit]) -> list[str]:
    """What to say of equal texts within a split, across splits and under different labels."""
    places = [(name, index) for name, split in splits.items() for index in range(len(split))]
    groups = [
        [places[index] for index in group]
        for group in groups_of_equals(text for split in splits.values() for text in split.texts)
    ]

    def shown(pairs: Sequence[Sequence[tuple[str, int]]]) -> str:
        words = ", ".join(
            " = ".join(place_of(splits[name], name, index) for name, index in pair)
            for pair in pairs[:_SHOWN]
        )
        return words + (f" (and {len(pairs) - _SHOWN:,} more)" if len(pairs) > _SHOWN else "")

    notes: list[str] = []
    for name in splits:
        within = [size for group in groups if (size := sum(p[0] == name for p in group)) > 1]
        if within:
            notes.append(f"{_occur(within)} more than once in {name} ({sum(within):,} rows)")
    for sides in combinations(splits, 2):
        shared = [
            [next(place for place in group if place[0] == side) for side in sides]
            for group in groups
            if set(sides) <= {name for name, _ in group}
        ]
        if shared:
            notes.append(f"{_occur(shared)} in both {' and '.join(sides)}: {shown(shared)}")
    torn = []
    for group in groups:
        labels = [splits[name].labels[index] for name, index in group]
        if others := [p for p, label in zip(group, labels, strict=True) if label != labels[0]]:
            torn.append([group[0], others[0]])
    if torn:
        notes.append(f"{_occur(torn)} under different labels: {shown(torn)}")
    return notes


def _occur(texts: Sequence[object]) -> str:
    return "1 text occurs" if len(texts) == 1 else f"{len(texts):,} texts occur"


def _classes(found: Gathered) -> tuple[str, ...]:
    filled = {(row.split, row.label) for row in found.rows}
    for split, folders in found.class_folders.items():
        if empty := [name for name in folders if (split, name) not in filled]:
            place = f"{split}/{empty[0]}" if found.has_splits else empty[0]
            more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
            raise DataError(
                f"class folder {place!r} has no usable text{more}",
                remedy="add texts to it or remove it",
            )
    train = [row.label for row in found.rows if row.split == "train"]
    if not train:
        raise DataError(
            f"{found.root} has nothing to train on", remedy="add labelled texts to train"
        )
    if found.columns:
        refuse_what_are_no_classes(train, column=found.columns.label, where=found.root.name)
    class_names = in_order(train)
    if len(class_names) < 2:
        raise DataError(
            f"{found.root.name} has a single class, {quoted(class_names[0])}",
            remedy="add texts of a second class, or name the right column with --label-column",
        )
    refuse_unknown(
        ((row.label, row.name) for row in found.rows),
        class_names,
        problem="which no text of train has",
        remedy="add such texts to train, correct the label, or remove the row",
    )
    return class_names


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
    for split, files in zip(gathered.splits, tables, strict=True):
        for file in files:
            advance = partial(_advance, done, total, progress)
            _read_table(file, split, settings, gathered, advance)
            done += file.stat().st_size
            progress(done, total)
    return gathered


def _advance(done: int, total: int, progress: Progress, read: int) -> None:
    progress(done + read, total)


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
    for record in table.read((columns.text, columns.label), advance):
        name = f"{file.name}:{record.line}"
        if isinstance(record, BadRecord):
            gathered.bad.append((name, record.reason))
            continue
        text, label = record.values
        try:
            row = TextRow(text_of(text), sys.intern(label_of(label)), name, split)
        except BadCellError as error:
            gathered.bad.append((name, error.reason))
        else:
            gathered.rows.append(row)
    gathered.notes += table.notes
    with file.open("rb") as handle:
        gathered.sha256[file.name] = hashlib.file_digest(handle, "sha256").hexdigest()


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
            gathered.bad.append((file.name, error.reason))
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


def _as_label(name: str) -> str:
    try:
        return label_of(name)
    except BadCellError:
        return name
