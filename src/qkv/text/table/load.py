"""The user's own texts as a data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from qkv.errors import DataError
from qkv.labelled import SPLIT_NAMES, IntArray, Skipped, SplitName
from qkv.text.dataset import TextDataset, TextSplit
from qkv.text.table.cells import BadCellError, label_of
from qkv.text.table.copies import copy_notes, loose_key
from qkv.text.table.gather import Gathered, Rows, gather, refuse_bad
from qkv.text.table.labels import (
    in_order,
    quoted,
    refuse_a_single_class,
    refuse_unknown,
    refuse_what_are_no_classes,
)
from qkv.text.table.settings import TextTableSettings
from qkv.text.table.splits import carve_texts


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
