"""The user's own texts as a data set: from tables, or from a folder of text files a class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from qkv.data.dataset import (
    SPLIT_NAMES,
    Skipped,
    TextDataset,
    TextSplit,
    and_more,
    carve_notes,
    carve_splits,
    equals,
    groups_of_equals,
    listed,
    loose_key,
    place_of,
    quoted,
)
from qkv.data.table_columns import (
    BadCellError,
    choose_text_column,
    in_order,
    label_of,
    refuse_unknown,
    refuse_what_are_no_classes,
    text_or_nothing,
)
from qkv.data.table_readers import open_table
from qkv.data.text_files import Gathered, TextTableSettings, gather, usable
from qkv.errors import BadFilesError, DataError
from qkv.progress import Progress


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
    pool, missing = splits["train"], settings.missing(splits)
    keys = [loose_key(text) for text in pool.texts]
    carved = carve_splits(pool, keys, missing, class_names=class_names, seed=seed)
    splits |= carved
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
        skipped=tuple(Skipped(*each) for each in found.bad),
        notes=(*found.notes, *carve_notes(carved, seed=seed), *copies),
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

    Where splits are given, these are the test texts; otherwise all texts. Arguments as of
    `load_text_table`; the texts may lack some of `class_names`.

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
    return found.split(found.splits[0], numbers), tuple(Skipped(*each) for each in found.bad)


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
    bad: list[tuple[str, str]] = []
    rows = list(usable(table, (column,), (text_or_nothing,), bad, lambda _: None))
    if bad:
        raise BadFilesError(
            f"{len(bad):,} of {len(bad) + len(rows):,} rows in {file} cannot be read: "
            + listed(bad),
            remedy="repair or remove them",
            files=bad,
        )
    return [name for name, _ in rows], [text for _, (text,) in rows]


def copy_notes(splits: Mapping[str, TextSplit]) -> list[str]:
    """What to say of equal texts within a split, across splits and under different labels."""
    rows = [
        (name, place_of(split, name, index), split.labels[index])
        for name, split in splits.items()
        for index in range(len(split))
    ]
    texts = (text for split in splits.values() for text in split.texts)
    groups = [[rows[index] for index in group] for group in groups_of_equals(texts)]
    notes: list[str] = []
    for name in splits:
        within = [size for group in groups if (size := sum(row[0] == name for row in group)) > 1]
        if within:
            notes.append(f"{_occur(within)} more than once in {name} ({sum(within):,} rows)")
    firsts = [{name: place for name, place, _ in reversed(group)} for group in groups]
    for sides in combinations(splits, 2):
        shared = [[first[s] for s in sides] for first in firsts if set(sides) <= first.keys()]
        if shared:
            notes.append(f"{_occur(shared)} in both {' and '.join(sides)}: {equals(shared)}")
    torn = []
    for (_, first_place, first_label), *more in groups:
        if others := [place for _, place, label in more if label != first_label]:
            torn.append([first_place, others[0]])
    if torn:
        notes.append(f"{_occur(torn)} under different labels: {equals(torn)}")
    return notes


def _occur(texts: Sequence[object]) -> str:
    return "1 text occurs" if len(texts) == 1 else f"{len(texts):,} texts occur"


def _classes(found: Gathered) -> tuple[str, ...]:
    filled = {(row.split, row.label) for row in found.rows}
    for split, folders in found.class_folders.items():
        if empty := [name for name in folders if (split, name) not in filled]:
            place = f"{split}/{empty[0]}" if found.has_splits else empty[0]
            raise DataError(
                f"class folder {place!r} has no usable text" + and_more(empty[1:]),
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
        set(class_names),
        problem="which no text of train has",
        remedy="add such texts to train, correct the label, or remove the row",
    )
    return class_names


def _as_label(name: str) -> str:
    try:
        return label_of(name)
    except BadCellError:
        return name
