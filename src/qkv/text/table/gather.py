"""From a path to the labelled texts of each split that it gives, and to what cannot be used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qkv.class_folders import ClassFolders
from qkv.errors import BadFilesError, DataError
from qkv.labelled import SplitName
from qkv.text.dataset import texts_sha256
from qkv.text.table.cells import BadCellError, label_of, text_of
from qkv.text.table.columns import Columns, choose_columns
from qkv.text.table.folders import scan_text_folders
from qkv.text.table.formats import open_table
from qkv.text.table.layout import TableFiles, find_tables
from qkv.text.table.lines import LONGEST, not_utf8
from qkv.text.table.record import Advance, BadRecord
from qkv.text.table.settings import TextTableSettings

Progress = Callable[[int, int], None]
_SHOWN = 3


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
