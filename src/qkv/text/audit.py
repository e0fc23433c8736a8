"""What is in a set of texts, good and bad, as one plain document for `qkv data inspect`.

The document, of JSON values only:

| key | value |
|---|---|
| `source` | the file or folder, or what the data set says of itself |
| `layout` | `"file"`, `"files"` (one a split), `"classes"`, `"splits"` (folders) or `"loaded"` |
| `columns` | `{"text", "label"}`, or null without a table |
| `texts` | how many can be used |
| `splits` | `{split: texts}`; the one split of undivided texts is `"undivided"` |
| `classes` | `{class: {split: texts}}`, empty classes included |
| `characters` | the quantiles of the lengths, as below; null without texts |
| `tokens` | likewise in word pieces, without the two special tokens; null if not counted |
| `too_long` | `{"positions", "texts", "share"}`: see below; null if not counted |
| `duplicates` | `{"within_splits": …, "across_splits": …}`: equal texts, as below |
| `near_duplicates` | the same for texts that differ, but in capitals and white space only |
| `conflicting_labels` | groups of equal texts with different labels |
| `bad_rows` | `[{"path", "reason"}]`: rows (`FILE:LINE`) or files, all of them |
| `notes` | how the texts were read |
| `warnings` | sentences, the gravest first |

Quantiles are `{"min", "p5", "p25", "p50", "p75", "p95", "p99", "max"}`. A text is too long if its
pieces and the two special tokens need more than the encoder's `positions`; `share` is of all texts,
0 to 1. Groups are `{"groups", "texts", "shown"}`: how many groups, how many texts lie in them, and
of the first 20 `{"texts", "names", "beginning"}`: how many there are, where the first 5 stand, and
how the text begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from qkv.text.audit_document import Entry, Found, TokenCounts, assemble
from qkv.text.dataset import TextDataset
from qkv.text.table.copies import name_of
from qkv.text.table.gather import gather
from qkv.text.table.labels import in_order, refuse_what_are_no_classes
from qkv.text.table.settings import TextTableSettings


def audit_texts(
    path: str | os.PathLike[str],
    settings: TextTableSettings | None = None,
    *,
    token_counts: TokenCounts | None = None,
    positions: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Audit a table of texts, a folder with a table for each split, or folders of text files.

    What would stop training is a warning here, so that one look shows all of it.

    Args:
        path: as for `load_text_table`.
        settings: which columns; the defaults if None.
        token_counts: called once with all texts; lengths in tokens are left out if None.
        positions: how many tokens the encoder takes, the two special ones included.
        progress: called with (bytes read, all bytes).

    Returns:
        The document that this module describes.

    Raises:
        DataError: there is nothing at `path`, a file is not what it says, columns are in doubt, or
            the labels are no classes.
        MissingExtraError: a Parquet file is read without pyarrow.
    """
    gathered = gather(path, settings or TextTableSettings(), progress=progress)
    undivided = {} if gathered.has_splits else {"train": "undivided"}
    entries = [
        Entry(text, name, undivided.get(split, split), label)
        for split, rows in gathered.splits.items()
        for text, name, label in zip(rows.texts, rows.names, rows.labels, strict=True)
    ]
    splits = [undivided.get(split, split) for split in gathered.splits]
    columns: dict[str, str] | None = None
    if gathered.columns:
        columns = {"text": gathered.columns.text, "label": gathered.columns.label}
        labels = [entry.class_name for entry in entries]
        refuse_what_are_no_classes(labels, column=gathered.columns.label, where=gathered.root.name)
        # A table says nothing of classes that it lacks: the first split knows them all.
        owned = {split: {e.class_name for e in entries if e.split == split} for split in splits}
        owned = {split: names | owned[splits[0]] for split, names in owned.items()}
    else:
        owned = {
            undivided.get(s, s): set(names) for s, names in (gathered.class_folders or {}).items()
        }
    classes = {
        name: {split: 0 for split in splits if name in owned[split]}
        for name in in_order(name for names in owned.values() for name in names)
    }
    given, whole = ("files", "file") if columns else ("splits", "classes")
    found = Found(
        source=str(gathered.root),
        layout=given if gathered.has_splits else whole,
        entries=entries,
        splits=splits,
        classes=classes,
        columns=columns,
        bad=gathered.bad,
        notes=gathered.notes,
    )
    return assemble(found, token_counts, positions)


def audit_text_dataset(
    dataset: TextDataset,
    *,
    token_counts: TokenCounts | None = None,
    positions: int | None = None,
) -> dict[str, Any]:
    """Audit a data set that has been loaded.

    Args:
        dataset: the texts.
        token_counts: called once with all texts; lengths in tokens are left out if None.
        positions: how many tokens the encoder takes, the two special ones included.

    Returns:
        The document that this module describes.
    """
    given = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    splits = {name: split for name, split in given.items() if split is not None}
    found = Found(
        source=dataset.source,
        layout="loaded",
        entries=[
            Entry(text, name_of(split, name, index), name, dataset.class_names[label])
            for name, split in splits.items()
            for index, (text, label) in enumerate(zip(split.texts, split.labels, strict=True))
        ],
        splits=list(splits),
        classes={name: dict.fromkeys(splits, 0) for name in dataset.class_names},
        bad=[(skipped.path, skipped.reason) for skipped in dataset.skipped],
        notes=list(dataset.notes),
    )
    return assemble(found, token_counts, positions)
