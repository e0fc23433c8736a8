"""Parquet: typed columns, rows counted from 1, and files that are not sound."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from qkv.data import table_readers as parquet
from qkv.data.table_readers import BadRecord, ParquetTable, Record
from qkv.errors import DataError, MissingExtraError


def write(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def read(path: Path, *names: str) -> list[Record | BadRecord]:
    return list(ParquetTable(path).read(names, lambda _: None))


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
)
@pytest.mark.parametrize(
    ("label_kind", "labels"),
    [
        (pa.int64(), [3, None, 1]),
        (pa.bool_(), [True, None, False]),
        (pa.float32(), [1.0, None, 0.5]),
        (pa.string(), ["α", None, "b"]),
        (pa.dictionary(pa.int32(), pa.int64()), [7, None, 7]),
        (pa.null(), [None, None, None]),
    ],
)
def test_texts_and_labels_of_every_kind(
    kind: pa.DataType, label_kind: pa.DataType, labels: list[object], tmp_path: Path
) -> None:
    texts = ["a\nb", None, "ü🙂"]
    path = write(
        tmp_path / "a.parquet",
        label=pa.array(labels, label_kind),
        other=pa.array([[1], [2], [3]]),
        text=pa.array(texts, pa.string()).cast(kind),
    )
    assert ParquetTable(path).columns == ("label", "other", "text")
    assert read(path, "text", "label") == [
        Record(row, (text, label))
        for row, text, label in zip((1, 2, 3), texts, labels, strict=True)
    ]


def test_many_batches_keep_their_order_and_tell_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS_IN_BATCH", 100)
    path = write(tmp_path / "a.parquet", text=[f"text {row}" for row in range(1, 951)])
    seen: list[int] = []
    found = list(ParquetTable(path).read(["text"], seen.append))
    assert found == [Record(row, (f"text {row}",)) for row in range(1, 951)]
    assert len(seen) == 10
    assert seen == sorted(seen)
    assert seen[-1] == path.stat().st_size


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    array = pa.array([b"fine", b"caf\xe9", b"\xff"], pa.binary()).view(pa.string())
    path = write(tmp_path / "a.parquet", text=array)
    assert read(path, "text") == [
        Record(1, ("fine",)),
        BadRecord(2, "has a byte 0xe9 that is not UTF-8"),
        BadRecord(3, "has a byte 0xff that is not UTF-8"),
    ]


def test_no_rows(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.parquet", text=pa.array([], pa.string())), "text") == []


@pytest.mark.parametrize("column", [[[1]], [{"a": 1}], [b"bytes"]])
def test_columns_of_other_kinds(column: list[object], tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", text=column)
    with pytest.raises(DataError, match="column 'text' of a.parquet holds .*name another column"):
        read(path, "text")


def test_damaged_files(tmp_path: Path) -> None:
    sound = write(tmp_path / "a.parquet", text=[f"{row:050}" for row in range(5000)]).read_bytes()
    broken = tmp_path / "b.parquet"
    for content in (b"", b"text,label\n", sound[:1000], b"PAR1" + bytes(1000) + b"PAR1"):
        broken.write_bytes(content)
        with pytest.raises(DataError, match=r"b.parquet is not a sound Parquet file \("):
            ParquetTable(broken)
    broken.write_bytes(sound[:100] + bytes(2000) + sound[2100:])
    with pytest.raises(DataError, match="is not a sound Parquet file"):
        read(broken, "text")
    with pytest.raises(DataError, match="there is no file"):
        ParquetTable(tmp_path / "c.parquet")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"needs pyarrow.*pip install 'qkv\[parquet\]'"):
        ParquetTable(tmp_path / "a.parquet")
