"""Readers of CSV, TSV, JSONL and Parquet: cells come back as written, bad rows by their lines."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.data import table_readers
from qkv.data.table_readers import DelimitedTable, JsonLinesTable, ParquetTable, Record
from qkv.errors import DataError, MissingExtraError

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text(
    '",\n\r\t;a ', max_size=12
)
Row = tuple[str, str]


def table(path: Path, content: str | bytes, delimiter: str = ",") -> DelimitedTable:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return DelimitedTable(path, delimiter)


def rows(found: DelimitedTable, *names: str) -> list[Record]:
    return list(found.read(names or found.columns, lambda _: None))


def values(found: DelimitedTable) -> list[tuple[object, ...]]:
    return [row.values for row in rows(found) if isinstance(row.values, tuple)]


@given(st.lists(st.tuples(CELLS, CELLS)), st.sampled_from(["\r\n", "\n"]), st.booleans())
def test_what_csv_writes_comes_back_from_the_right_lines(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[Row], end: str, mark: bool
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["text", "label"])
    expected = []
    for row in given_rows:
        expected.append(Record(buffer.getvalue().count("\n") + 1, row))
        writer.writerow(row)
    encoding = "utf-8-sig" if mark else "utf-8"
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    assert rows(table(path, buffer.getvalue().encode(encoding))) == expected


BAD = {
    "a,b,c": "has 3 cells where the header has 2",
    "alone": "has 1 cell where the header has 2",
    '"a" b,c': "has letters after a closing quote (a quote within a cell is written twice)",
    "caf\udce9,b": "has a byte 0xe9 that is not UTF-8",
    "a\rb,c": "has a carriage return outside quotes",
}


@given(st.lists(st.tuples(CELLS, CELLS) | st.sampled_from(sorted(BAD)), max_size=8))
def test_bad_rows_between_good_ones(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[Row | str]
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(["text", "label"])
    expected: list[Record] = []
    for row in given_rows:
        line = buffer.getvalue().count("\n") + 1
        if isinstance(row, str):
            buffer.write(f"{row}\r\n")
            expected.append(Record(line, BAD[row]))
        else:
            writer.writerow(row)
            expected.append(Record(line, row))
    content = buffer.getvalue().encode("utf-8", "surrogateescape")
    assert rows(table(tmp_path_factory.mktemp("csv") / "a.csv", content)) == expected


def test_an_open_quote_costs_one_row_only(tmp_path: Path) -> None:
    good = "".join(f'{number},"word ""{number}"""\n' for number in range(1000))
    content = f'x,y\n7,"open\n{good}8,"open too\n9,plain\n10,last\n'
    found = rows(table(tmp_path / "a.csv", content))
    assert [row.line for row in found if isinstance(row.values, str)] == [2, 1003]
    assert sum(isinstance(row.values, tuple) for row in found) == 1002
    assert found[-2:] == [Record(1004, ("9", "plain")), Record(1005, ("10", "last"))]


def test_cells_of_ten_million_characters(tmp_path: Path) -> None:
    long = ('word, "word" ' * 99 + "\n") * 8_000
    assert len(long) > 10_000_000
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "label"], [long, "a"], ["short", "b"]])
    assert rows(DelimitedTable(path, ",")) == [
        Record(2, (long, "a")),
        Record(2 + 1 + 8_000, ("short", "b")),
    ]


def test_a_quote_open_for_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = csv.field_size_limit(50)
    monkeypatch.setattr(csv, "field_size_limit", lambda *_: 50)
    try:
        found = rows(table(tmp_path / "a.csv", "x,y\n" + '1,"open\n' + "2,b\n" * 30))
    finally:
        monkeypatch.undo()
        csv.field_size_limit(limit)
    assert found[0] == Record(2, "has a quoted cell without an end")
    assert found[1:] == [Record(line, ("2", "b")) for line in range(3, 33)]


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_readers, "LONGEST", 50)
    with pytest.raises(DataError, match=r"a.csv:2 has more than 50 characters; end every row"):
        rows(table(tmp_path / "a.csv", "x,y\n" + "a" * 60))


def test_columns_are_picked_in_the_order_asked(tmp_path: Path) -> None:
    found = table(tmp_path / "a.csv", " a ,b,a b\n1,2,3\n")
    assert found.columns == ("a", "b", "a b")
    assert rows(found, "a b", "a") == [Record(2, ("3", "1"))]


def test_blank_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    found = rows(table(tmp_path / "a.csv", "\n\nx,y\n\n1,2\r\n\r\n3,4"))
    assert found == [Record(5, ("1", "2")), Record(7, ("3", "4"))]


def test_lines_that_end_in_carriage_returns(tmp_path: Path) -> None:
    found = rows(table(tmp_path / "a.csv", 'x,y\r1,"a\rb"\r3,4\r'))
    assert found == [Record(2, ("1", "a\rb")), Record(4, ("3", "4"))]


@pytest.mark.parametrize(("mark", "words"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_are_seen_in_the_header(mark: str, words: str, tmp_path: Path) -> None:
    found = table(tmp_path / "a.csv", f'text{mark}label\n"a, b{mark} c"{mark}1\n')
    assert values(found) == [(f"a, b{mark} c", "1")]
    assert found.notes == [f"the columns of a.csv are separated by {words}"]


def test_a_header_with_commas_keeps_them(tmp_path: Path) -> None:
    found = table(tmp_path / "a.csv", "text;x,label\na,b\n")
    assert found.columns == ("text;x", "label")
    assert found.notes == []


def test_tsv_with_quotes(tmp_path: Path) -> None:
    found = table(tmp_path / "a.tsv", 'text\tlabel\n"a\tb"\t0\n"a\n""c"""\t1\nd, e\t2\n', "\t")
    assert values(found) == [("a\tb", "0"), ('a\n"c"', "1"), ("d, e", "2")]
    assert found.notes == []


def test_tsv_where_quotes_are_letters(tmp_path: Path) -> None:
    written = [
        ('"He said', "1"),
        ('and left"', "0"),  # with the row above, one well-formed cell of two lines
        ('"Good" he said', "1"),
        (r'"an \"escaped\" one"', "0"),
        ('"open', "1"),
    ]
    content = "text\tlabel\n" + "".join("\t".join(row) + "\n" for row in written)
    found = table(tmp_path / "a.tsv", content, "\t")
    assert rows(found) == [Record(line, row) for line, row in enumerate(written, start=2)]
    assert found.notes == ["5 rows of a.tsv read with quotes as plain letters"]


def test_tsv_rows_of_a_wrong_width(tmp_path: Path) -> None:
    found = table(tmp_path / "a.tsv", 'text\tlabel\n"a" b\nc\td\te\n"f" g\th\ti\n', "\t")
    assert [row.line for row in rows(found)] == [2, 3, 4]
    assert all(isinstance(row.values, str) for row in rows(found))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\); name a table with rows"),
        (b"\n\n", "has no rows"),
        (b'text,"label" x\n', "a.csv:1 should name the columns, but has letters after"),
        (b"caf\xe9,label\n", "a.csv:1 should name the columns, but has a byte 0xe9"),
        ("text,label\na,b\n".encode("utf-16"), "is UTF-16 text, not UTF-8; save it as UTF-8"),
        ("text,label\na,b\n".encode("utf-16-be"), "is UTF-16 text or binary, not UTF-8"),
        ("text,label\na,b\n".encode("utf-16-le"), "is UTF-16 text or binary, not UTF-8"),
        (b"PK\x03\x04....", "is a ZIP archive or a workbook, not text; export it as CSV UTF-8"),
        (b"\x1f\x8b\x08....", "is a gzip archive, not text; unpack it"),
        (b"PAR1....", "is a Parquet file, not text; end its name in .parquet"),
    ],
)
def test_files_that_are_no_csv(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        table(tmp_path / "a.csv", content)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file .*; check the path"):
        DelimitedTable(tmp_path / "a.csv", ",")


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    content = "text,label\n" + "some words,1\n" * 20_000
    found = table(tmp_path / "a.csv", content)
    seen: list[int] = []
    list(found.read(["text"], seen.append))
    assert seen == sorted(seen)
    assert 0 < seen[0] < len(content) / 4
    assert len(content) * 0.9 < seen[-1] <= len(content)


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    """A reader that took all rows at once would stumble on the line far below."""
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n" + "words,1\n" * 100_000)
    seen: list[int] = []
    reading = DelimitedTable(path, ",").read(["text"], seen.append)
    assert next(reading) == Record(2, ("words",))
    assert seen == []
    reading.close()  # type: ignore[attr-defined]


TEXTS = st.text(max_size=30)
LABELS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
BAD_JSON = {
    "": None,
    "  \t": None,
    "{": "is not valid JSON (Expecting property name enclosed in double quotes at character 3)",
    '["a", 1]': "is an array, not a JSON object",
    '"text"': "is a string, not a JSON object",
    "3.5": "is a number, not a JSON object",
    "null": "is null, not a JSON object",
    "true": "is true or false, not a JSON object",
    '{"text": "caf\udce9"}': "has a byte 0xe9 that is not UTF-8",
    '{"text": ' + "9" * 5000 + "}": "has a number with too many digits",
    "[" * 200_000: "is nested too deeply",
}


def json_rows(path: Path, *names: str) -> list[Record]:
    return list(JsonLinesTable(path).read(names, lambda _: None))


@given(
    st.lists(st.tuples(TEXTS, LABELS) | st.sampled_from(sorted(BAD_JSON)), max_size=10),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_objects_come_back_from_the_right_lines(
    tmp_path_factory: pytest.TempPathFactory,
    given_rows: list[tuple[str, object] | str],
    escaped: bool,
    end: str,
) -> None:
    written = [json.dumps({"text": "first", "label": 0})]
    expected: list[Record] = [Record(1, ("first", 0))]
    for line, row in enumerate(given_rows, start=2):
        if isinstance(row, str):
            written.append(row)
            if reason := BAD_JSON[row]:
                expected.append(Record(line, reason))
        else:
            text, label = row
            # Without escapes a surrogate cannot be written.
            plain = not escaped and all(_is_plain(word) for word in row)
            object_ = {"label": label, "text": text, "more": [1]}
            written.append(json.dumps(object_, ensure_ascii=not plain))
            expected.append(Record(line, (text, label)))
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    path.write_bytes(end.join(written).encode("utf-8", "surrogateescape"))
    found = json_rows(path, "text", "label")
    assert [_comparable(row) for row in found] == [_comparable(row) for row in expected]


def _is_plain(word: object) -> bool:
    return not isinstance(word, str) or not any(0xD800 <= ord(c) < 0xE000 for c in word)


def _comparable(row: Record) -> object:
    if isinstance(row.values, str):  # where in a line it broke is the business of json
        return row.line, row.values.partition(" (")[0]
    return row.line, row.values, [type(value) for value in row.values]


def test_columns_are_the_keys_of_the_first_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\n[1]\n{"a": 1}\n{"b": 2, "a": 3}\n')
    assert JsonLinesTable(path).columns == ("a", "b")
    assert json_rows(path, "b", "a") == [
        Record(2, "is an array, not a JSON object"),
        Record(3, (None, 1)),
        Record(4, (2, 3)),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "has no rows; write one JSON object a line"),
        ('[\n{"text": "a"},\n', "a.jsonl:1 is not valid JSON"),
        ('[{"text": "a"}]', "a.jsonl:1 is an array, not a JSON object; write one JSON object"),
        ("text,label\na,b", "a.jsonl:1 is not valid JSON"),
    ],
)
def test_files_that_are_no_jsonl(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        JsonLinesTable(path)


def test_a_mark_of_byte_order_is_dropped_from_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\ufeffa"}', encoding="utf-8-sig")
    assert json_rows(path, "text") == [Record(1, ("\ufeffa",))]


def parquet(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def read(path: Path, *names: str) -> list[Record]:
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
    path = parquet(
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
    monkeypatch.setattr(table_readers, "_ROWS_IN_BATCH", 100)
    path = parquet(tmp_path / "a.parquet", text=[f"text {row}" for row in range(1, 951)])
    seen: list[int] = []
    found = list(ParquetTable(path).read(["text"], seen.append))
    assert found == [Record(row, (f"text {row}",)) for row in range(1, 951)]
    assert len(seen) == 10
    assert seen == sorted(seen)
    assert seen[-1] == path.stat().st_size


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    array = pa.array([b"fine", b"caf\xe9", b"\xff"], pa.binary()).view(pa.string())
    path = parquet(tmp_path / "a.parquet", text=array)
    assert read(path, "text") == [
        Record(1, ("fine",)),
        Record(2, "has a byte 0xe9 that is not UTF-8"),
        Record(3, "has a byte 0xff that is not UTF-8"),
    ]


def test_no_rows(tmp_path: Path) -> None:
    assert read(parquet(tmp_path / "a.parquet", text=pa.array([], pa.string())), "text") == []


@pytest.mark.parametrize("column", [[[1]], [{"a": 1}], [b"bytes"]])
def test_columns_of_other_kinds(column: list[object], tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", text=column)
    with pytest.raises(DataError, match="column 'text' of a.parquet holds .*name another column"):
        read(path, "text")


def test_damaged_files(tmp_path: Path) -> None:
    sound = parquet(tmp_path / "a.parquet", text=[f"{row:050}" for row in range(5000)]).read_bytes()
    broken = tmp_path / "b.parquet"
    cut, empty, name = sound[:1000], b"PAR1" + bytes(1000) + b"PAR1", b"\xffext"
    for content in (b"", b"text,label\n", cut, empty, sound.replace(b"text", name)):
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
