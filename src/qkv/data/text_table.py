"""What a user may say of a table of texts.

What a path holds: one table, a table for each split, or folders of text files.

A folder with a table called `train` (`train.csv`, or the shards `train-00000-of-00002.parquet`) is
read as a table for each split; files with other names are left alone. Any other folder is one of
class folders. Nothing is opened here.


Which text file of a folder belongs to which split and class.

From a path to the labelled texts of each split that it gives, and to what cannot be used.

The same text twice: on two sides it is a leak, under two labels a contradiction.

Splits carved from one pool of texts, so that the same text never stands on two sides.

The user's own texts as a data set.

Texts without labels, to be classified.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from qkv.data.class_folders import ClassFolders, ExampleFiles, scan_class_folders
from qkv.data.dataset import (
    SPLIT_NAMES,
    SPLIT_OF_NAME,
    IntArray,
    Skipped,
    SplitName,
    TextDataset,
    TextSplit,
    carve_splits,
    equal_units,
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
    quoted,
    refuse_a_single_class,
    refuse_unknown,
    refuse_what_are_no_classes,
    text_of,
    text_or_nothing,
)
from qkv.data.table_readers import LONGEST, Advance, BadRecord, is_table, not_utf8, open_table
from qkv.errors import BadFilesError, DataError
from qkv.settings import Settings


class TextTableSettings(Settings):
    """Which columns of a table are read, and how its rows are divided."""

    text_column: str | None = Field(default=None, min_length=1)
    """Name of the column of texts. None guesses it where the names leave no doubt."""

    label_column: str | None = Field(default=None, min_length=1)
    """Name of the column of labels. None guesses it where the names leave no doubt."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the undivided texts for validation, where no such split is given; 0 to 1."""

    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the undivided texts for the test, where no such split is given; 0 to 1."""

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        return self

    @model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.text_column is not None and self.text_column == self.label_column:
            raise ValueError("text_column and label_column name the same column")
        return self


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


SUFFIX = ".txt"
TEXTS = ExampleFiles(
    what="text files",
    suffixes=frozenset({SUFFIX}),
    only=f"is not a {SUFFIX} file",
    train="train/{class}/….txt",
    remedy="name a table, a folder with a table called train, or one laid out as {class}/….txt",
)


def scan_text_folders(root: Path) -> ClassFolders:
    """List the text files of a folder with their split and class.

    Raises:
        DataError: the layout is ambiguous, the folder cannot be listed, or no file lies in a class
            folder.
    """
    return scan_class_folders(root, TEXTS)


Progress = Callable[[int, int], None]


@dataclass
class Rows:
    """Labelled texts in their order.

    Attributes:
        texts: the texts.
        labels: the label of each, as a word.
        names: where each stands: `FILE:LINE`, or a file.
    """

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass
class Gathered:
    """What a path holds.

    Attributes:
        root: the file or folder.
        has_splits: whether the splits are given; if not, all is in `"train"`.
        columns: the columns that were read; None for folders of text files.
        class_folders: the class folders of each split; None for tables.
        splits: the usable rows of each given split.
        bad: (place, reason) of every row or file that cannot be used.
        notes: what a report should say of how it was read.
        sha256: of each table by its name, or of all texts of class folders in their order.
    """

    root: Path
    has_splits: bool
    columns: Columns | None = None
    class_folders: dict[SplitName, tuple[str, ...]] | None = None
    splits: dict[SplitName, Rows] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What a place in it is: a row of a table, or a file."""
        return "row" if self.columns else "file"


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
    tables = find_tables(path)
    if tables is not None:
        return _gather_tables(tables, settings, test_only, progress)
    return _gather_folders(scan_text_folders(Path(path)), test_only, progress)


def refuse_bad(gathered: Gathered, *, skip_bad: bool) -> None:
    """Stop where rows or files cannot be used, or, going on without them, where none can.

    Raises:
        BadFilesError: it lists all of them.
        DataError: there are no rows at all.
    """
    bad, kind = gathered.bad, gathered.kind
    good = sum(map(len, gathered.splits.values()))
    if not bad and not good:
        raise DataError(f"{gathered.root} has no {kind}s", remedy="name a table with rows")
    if not bad or (skip_bad and good):
        return
    count = f"{len(bad):,} of {good + len(bad):,} {kind}s in {gathered.root} cannot"
    if not good:
        count = f"none of the {len(bad):,} {kind}s in {gathered.root} can"
    save = "save the file as UTF-8, " if any("not UTF-8" in reason for _, reason in bad) else ""
    leave = ", or leave them out with --skip-bad" if good else ""
    raise BadFilesError(
        f"{count} be used: {first_of(bad)}", remedy=f"{save}repair or remove them{leave}", files=bad
    )


def first_of(bad: Sequence[tuple[str, str]]) -> str:
    """The first bad rows with their reasons, and how many more there are."""
    shown = "; ".join(f"{name} {reason}" for name, reason in bad[:_SHOWN])
    return shown + (f"; and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else "")


def _gather_tables(
    tables: TableFiles, settings: TextTableSettings, test_only: bool, progress: Progress | None
) -> Gathered:
    gathered = Gathered(tables.root, tables.has_splits)
    chosen = dict(tables.files)
    if test_only and tables.has_splits:
        if "test" not in chosen:
            raise DataError(f"{tables.root} has no test table", remedy="name a table itself")
        chosen = {"test": chosen["test"]}
    elif "train" not in chosen:
        names = " and ".join(file.name for files in chosen.values() for file in files)
        raise DataError(
            f"{tables.root} has {names} but no train table", remedy="add one, or name a file itself"
        )
    total = sum(file.stat().st_size for files in chosen.values() for file in files)
    done = 0
    interned: dict[str, str] = {}
    for split, files in chosen.items():
        rows = gathered.splits[split] = Rows()
        for file in files:
            _read_table(file, settings, gathered, rows, interned, _from(done, total, progress))
            done += file.stat().st_size
            if progress:
                progress(done, total)
    return gathered


def _read_table(
    file: Path,
    settings: TextTableSettings,
    gathered: Gathered,
    rows: Rows,
    interned: dict[str, str],
    advance: Advance,
) -> None:
    table = open_table(file)
    if gathered.columns is None:
        gathered.columns = choose_columns(
            table.columns, settings.text_column, settings.label_column, where=file.name
        )
        if gathered.columns.note:
            gathered.notes.append(gathered.columns.note)
        columns = gathered.columns
    else:  # what the first file is read by holds for all
        first = gathered.columns
        columns = choose_columns(table.columns, first.text, first.label, where=file.name)
    for record in table.read((columns.text, columns.label), advance):
        place = f"{file.name}:{record.line}"
        if isinstance(record, BadRecord):
            gathered.bad.append((place, record.reason))
            continue
        try:
            text, label = text_of(record.values[0]), label_of(record.values[1])
        except BadCellError as error:
            gathered.bad.append((place, error.reason))
            continue
        rows.texts.append(text)
        rows.labels.append(interned.setdefault(label, label))
        rows.names.append(place)
    gathered.notes += table.notes
    with file.open("rb") as handle:
        gathered.sha256[file.name] = hashlib.file_digest(handle, "sha256").hexdigest()


def _gather_folders(found: ClassFolders, test_only: bool, progress: Progress | None) -> Gathered:
    gathered = Gathered(found.root, found.has_splits)
    splits: Sequence[SplitName] = tuple(found.class_folders)
    if test_only and found.has_splits:
        if "test" not in splits:
            raise DataError(
                f"{found.root} has no test folder",
                remedy="name a folder with a test split, or one with a folder for each class",
            )
        splits = ("test",)
    gathered.class_folders = {
        split: tuple(label_of(name) for name in found.class_folders[split]) for split in splits
    }
    gathered.splits = {split: Rows() for split in splits}
    gathered.bad = list(found.bad)
    files = [file for file in found.files if file.split in splits]
    total, done = sum(file.size_bytes for file in files), 0
    for file in files:
        text, reason = _read_file(file.path)
        if reason:
            gathered.bad.append((file.name, reason))
        else:
            rows = gathered.splits[file.split]
            rows.texts.append(text)
            rows.labels.append(label_of(file.class_name))
            rows.names.append(file.name)
        done += file.size_bytes
        if progress:
            progress(done, total)
    gathered.bad.sort()
    gathered.sha256 = {"texts": texts_sha256(_all_texts(gathered))}
    return gathered


def _read_file(path: Path) -> tuple[str, str]:
    """The text of a file and what is wrong with it; one of them is empty."""
    try:
        if path.stat().st_size > LONGEST:
            return "", f"has more than {LONGEST:,} bytes"
        content = path.read_bytes()
        return text_of(content.decode("utf-8-sig")), ""
    except UnicodeDecodeError as error:
        return "", not_utf8(error.object[error.start])
    except BadCellError as error:
        return "", error.reason
    except OSError as error:
        return "", f"cannot be read ({error.strerror or error})"


def _all_texts(gathered: Gathered) -> Iterator[str]:
    for rows in gathered.splits.values():
        yield from rows.texts


def _from(done: int, total: int, progress: Progress | None) -> Advance:
    """What turns the bytes read of one file into progress over all files."""

    def advance(read: int) -> None:
        if progress:
            progress(done + read, total)

    return advance


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


def carve_texts(
    labels: IntArray,
    keys: Sequence[bytes],
    names: Sequence[str],
    fractions: Mapping[SplitName, float],
    *,
    class_names: Sequence[str],
    seed: int,
) -> dict[SplitName, IntArray]:
    """Divide a pool into train and the asked splits, the same share of every class.

    Texts of equal key are one unit and go to one side together; a unit counts for the class of its
    first text.

    Args:
        labels: int64 (examples,).
        keys: equal for texts that must stay together.
        names: where each text is, for messages.
        fractions: of the whole pool, by split; the rest is `"train"`.
        class_names: for messages.
        seed: rules the draw.

    Returns:
        Sorted indices into the pool, for `"train"` and each key of `fractions`; together they are
        every index once.

    Raises:
        DataError: a class has too few distinct texts to give each split one, and train two if it
            is alone.
    """
    unit_of, first = equal_units(keys)
    unit_labels = labels[first]
    sides: tuple[SplitName, ...] = ("train", *fractions)
    _require_enough(unit_labels, [names[i] for i in first], class_names, sides)
    return carve_splits(unit_labels, unit_of, fractions, seed=seed)


def _require_enough(
    labels: IntArray, names: Sequence[str], class_names: Sequence[str], splits: Sequence[SplitName]
) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    needed = max(2, len(splits))
    small = [index for index, count in enumerate(counts) if count < needed]
    if not small:
        return
    count = int(counts[small[0]])
    texts = "1 distinct text" if count == 1 else f"{count} distinct texts"
    place = next(
        (f" ({n})" for n, label in zip(names, labels, strict=True) if label == small[0]), ""
    )
    why = f" (one each for {', '.join(splits)})" if len(splits) > 1 else " to train on"
    more = f", and {len(small) - 1} more classes alike" if len(small) > 1 else ""
    raise DataError(
        f"class {quoted(class_names[small[0]])} has {texts}"
        f"{place if count == 1 else ''}, needs at least {needed}{why}{more}",
        remedy="add texts to it or remove it",
    )


def load_text_table(
    path: str | os.PathLike[str],
    settings: TextTableSettings | None = None,
    *,
    seed: int,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
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
    gathered = gather(path, settings, progress=progress)
    refuse_bad(gathered, skip_bad=skip_bad)
    class_names = _classes(gathered)
    numbers = {name: number for number, name in enumerate(class_names)}
    splits: dict[SplitName, TextSplit] = {
        split: _as_split(rows, numbers) for split, rows in gathered.splits.items() if len(rows)
    }
    pool = splits["train"]
    asked: dict[SplitName, float] = {
        "test": settings.test_fraction,
        "validation": settings.validation_fraction,
    }
    carved = carve_texts(
        pool.labels,
        [loose_key(text) for text in pool.texts],
        pool.names,
        {split: share for split, share in asked.items() if split not in splits},
        class_names=class_names,
        seed=seed,
    )
    splits |= {split: pool.subset(indices) for split, indices in carved.items()}
    ordered: dict[str, TextSplit] = {split: splits[split] for split in SPLIT_NAMES}
    return TextDataset(
        name=gathered.root.stem if gathered.root.is_file() else gathered.root.name,
        class_names=class_names,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        source=f"{'file' if gathered.root.is_file() else 'folder'} {gathered.root}",
        sha256=gathered.sha256,
        skipped=tuple(Skipped(name, reason) for name, reason in gathered.bad),
        notes=(*gathered.notes, *_split_notes(carved, seed), *copy_notes(ordered)),
    )


def load_labelled_texts(
    path: str | os.PathLike[str],
    class_names: Sequence[str],
    settings: TextTableSettings | None = None,
    *,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
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
    gathered = gather(path, settings or TextTableSettings(), test_only=True, progress=progress)
    refuse_bad(gathered, skip_bad=skip_bad)
    (rows,) = gathered.splits.values()
    # The model's classes may come from elsewhere: names that mean the same are the same.
    numbers = {name: number for number, name in enumerate(class_names)}
    numbers = {_as_label(name): number for name, number in numbers.items()} | numbers
    refuse_unknown(
        rows.labels,
        rows.names,
        numbers,
        but="which is not one of the model's",
        remedy=f"the model knows {', '.join(quoted(name) for name in class_names)}",
    )
    skipped = tuple(Skipped(name, reason) for name, reason in gathered.bad)
    return _as_split(rows, numbers), skipped


def _classes(gathered: Gathered) -> tuple[str, ...]:
    where = gathered.root.name
    train = gathered.splits["train"]
    if gathered.class_folders is not None:
        _refuse_empty_classes(gathered)
        class_names = in_order(gathered.class_folders["train"])
    else:
        class_names = in_order(train.labels)
    if not class_names or not len(train):
        raise DataError(
            f"{gathered.root} has nothing to train on", remedy="add labelled texts to train"
        )
    if gathered.columns:
        refuse_what_are_no_classes(train.labels, column=gathered.columns.label, where=where)
    refuse_a_single_class(class_names, where=where)
    known = {name: number for number, name in enumerate(class_names)}
    for rows in gathered.splits.values():
        refuse_unknown(
            rows.labels,
            rows.names,
            known,
            but="which no text of train has",
            remedy="add such texts to train, correct the label, or remove the row",
        )
    return class_names


def _refuse_empty_classes(gathered: Gathered) -> None:
    for split, names in (gathered.class_folders or {}).items():
        filled = set(gathered.splits[split].labels)
        if empty := [name for name in names if name not in filled]:
            place = f"{split}/{empty[0]}" if gathered.has_splits else empty[0]
            more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
            raise DataError(
                f"class folder {place!r} has no usable text{more}",
                remedy="add texts to it or remove it",
            )


def _as_split(rows: Rows, numbers: Mapping[str, int]) -> TextSplit:
    labels: IntArray = np.array([numbers[label] for label in rows.labels], dtype=np.int64)
    return TextSplit(tuple(rows.texts), labels, tuple(rows.names))


def _as_label(name: str) -> str:
    try:
        return label_of(name)
    except BadCellError:
        return name


def _split_notes(carved: Mapping[SplitName, IntArray], seed: int) -> list[str]:
    taken = [split for split in SPLIT_NAMES if split in carved and split != "train"]
    if not taken:
        return []
    sizes = " and ".join(f"{len(carved[split]):,} for {split}" for split in taken)
    return [f"carved from the train texts by seed {seed}: {sizes}"]


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
        if isinstance(record, BadRecord):
            bad.append((place, record.reason))
            continue
        try:
            texts.append(text_or_nothing(record.values[0]))
        except BadCellError as error:
            bad.append((place, error.reason))
        else:
            names.append(place)
    if bad:
        raise BadFilesError(
            f"{len(bad):,} of {len(bad) + len(texts):,} rows in {file} cannot be read: "
            + first_of(bad),
            remedy="repair or remove them",
            files=bad,
        )
    return names, texts
