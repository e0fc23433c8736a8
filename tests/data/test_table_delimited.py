"""CSV and TSV: cells come back as written, and a bad row is named by the line where it starts."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.data import table_readers as lines
from qkv.data.table_readers import BadRecord, DelimitedTable, Record
from qkv.errors import DataError

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text(
    '",\n\r\t;a ', max_size=12
)
Row = tuple[str, str]


def table(path: Path, content: str | bytes, delimiter: str = ",") -> DelimitedTable:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return DelimitedTable(path, delimiter)


def rows(found: DelimitedTable, *names: str) -> list[Record | BadRecord]:
    return list(found.read(names or found.columns, lambda _: None))


def values(found: DelimitedTable) -> list[tuple[object, ...]]:
    return [row.values for row in rows(found) if isinstance(row, Record)]


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
    expected: list[Record | BadRecord] = []
    for row in given_rows:
        line = buffer.getvalue().count("\n") + 1
        if isinstance(row, str):
            buffer.write(f"{row}\r\n")
            expected.append(BadRecord(line, BAD[row]))
        else:
            writer.writerow(row)
            expected.append(Record(line, row))
    content = buffer.getvalue().encode("utf-8", "surrogateescape")
    assert rows(table(tmp_path_factory.mktemp("csv") / "a.csv", content)) == expected


def test_an_open_quote_costs_one_row_only(tmp_path: Path) -> None:
    good = "".join(f'{number},"word ""{number}"""\n' for number in range(1000))
    content = f'x,y\n7,"open\n{good}8,"open too\n9,plain\n10,last\n'
    found = rows(table(tmp_path / "a.csv", content))
    assert [row.line for row in found if isinstance(row, BadRecord)] == [2, 1003]
    assert sum(isinstance(row, Record) for row in found) == 1002
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
    for module in (lines, __import__("qkv.data.table_readers", fromlist=["LONGEST"])):
        monkeypatch.setattr(module, "LONGEST", 50)
    found = rows(table(tmp_path / "a.csv", "x,y\n" + '1,"open\n' + "2,b\n" * 30))
    assert found[0] == BadRecord(2, "has a quoted cell without an end")
    assert found[1:] == [Record(line, ("2", "b")) for line in range(3, 33)]


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 50)
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
    assert all(isinstance(row, BadRecord) for row in rows(found))


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
