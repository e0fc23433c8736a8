"""JSONL: objects come back as written; what is none is named by its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.data.table_readers import BadRecord, JsonLinesTable, Record
from qkv.errors import DataError

TEXTS = st.text(max_size=30)
LABELS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
BAD = {
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


def rows(path: Path, *names: str) -> list[Record | BadRecord]:
    return list(JsonLinesTable(path).read(names, lambda _: None))


@given(
    st.lists(st.tuples(TEXTS, LABELS) | st.sampled_from(sorted(BAD)), max_size=10),
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
    expected: list[Record | BadRecord] = [Record(1, ("first", 0))]
    for line, row in enumerate(given_rows, start=2):
        if isinstance(row, str):
            written.append(row)
            if reason := BAD[row]:
                expected.append(BadRecord(line, reason))
        else:
            text, label = row
            # Without escapes a surrogate cannot be written.
            plain = not escaped and all(_is_plain(word) for word in row)
            object_ = {"label": label, "text": text, "more": [1]}
            written.append(json.dumps(object_, ensure_ascii=not plain))
            expected.append(Record(line, (text, label)))
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    path.write_bytes(end.join(written).encode("utf-8", "surrogateescape"))
    found = rows(path, "text", "label")
    assert [_comparable(row) for row in found] == [_comparable(row) for row in expected]


def _is_plain(word: object) -> bool:
    return not isinstance(word, str) or not any(0xD800 <= ord(c) < 0xE000 for c in word)


def _comparable(row: Record | BadRecord) -> object:
    if isinstance(row, BadRecord):  # where in a line it broke is the business of json
        return row.line, row.reason.partition(" (")[0]
    return row.line, row.values, [type(value) for value in row.values]


def test_columns_are_the_keys_of_the_first_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\n[1]\n{"a": 1}\n{"b": 2, "a": 3}\n')
    assert JsonLinesTable(path).columns == ("a", "b")
    assert rows(path, "b", "a") == [
        BadRecord(2, "is an array, not a JSON object"),
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


def test_a_mark_of_byte_order_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\ufeffa"}', encoding="utf-8-sig")
    assert rows(path, "text") == [Record(1, ("\ufeffa",))]
