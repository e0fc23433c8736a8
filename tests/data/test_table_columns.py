"""Texts, labels and classes of a table, and the columns they are in."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.data.table_columns import (
    BadCellError,
    Columns,
    choose_columns,
    choose_text_column,
    in_order,
    label_of,
    refuse_what_are_no_classes,
    text_of,
    text_or_nothing,
)
from qkv.data.text_files import TextTableSettings
from qkv.errors import DataError, RecipeError


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_text_stays_as_it_is(text: str) -> None:
    assert text_or_nothing(text) == text
    if text.strip():
        assert text_of(text) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "has no text"),
        ("", "has no text"),
        (" \t\n\u00a0\u3000", "has a text of white space only"),
        (3, "has a number for a text"),
        (True, "has true or false for a text"),
        (["a"], "has a list for a text"),
        ({}, "has an object for a text"),
        ("a\0b", "has a NUL character in its text"),
        ("a\ud83d", r"has half a surrogate pair (\ud83d) in its text"),
        ("\udc80\ud83d", r"has half a surrogate pair (\udc80) in its text"),
    ],
)
def test_what_is_no_text(value: object, reason: str) -> None:
    with pytest.raises(BadCellError, match=f"^{re.escape(reason)}$"):
        text_of(value)


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ([1, "1", 1.0, "1.0", "+1", " 1 ", "1.", "1.000"], "1"),
        ([-1, "-1", -1.0, "-1.0"], "-1"),
        ([0, "0", 0.0, -0.0, "-0", "+0", "0.0"], "0"),
        ([0.5, "0.5", "0.50", "+0.5"], "0.5"),
        ([True, "True", "TRUE", "true "], "true"),
        ([False, "false"], "false"),
        (["01"], "01"),
        (["1e3"], "1e3"),
        (["1_000"], "1_000"),
        (["Yes"], "Yes"),
        ([" two words\n"], "two words"),
        (["nan"], "nan"),
        (["١"], "١"),  # a digit elsewhere, a word here
        ([1e300], "1e+300"),
        ([10**30, "1" + "0" * 30], "1" + "0" * 30),
    ],
)
def test_equal_labels_are_one_word(values: list[object], label: str) -> None:
    assert [label_of(value) for value in values] == [label] * len(values)


@given(st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_label_is_the_same_once_it_is_a_word(value: object) -> None:
    assert label_of(label_of(value)) == label_of(value)


@given(st.integers(-(10**14), 10**14))
def test_whole_numbers_are_one_label_in_any_form(number: int) -> None:
    assert label_of(number) == label_of(float(number)) == label_of(f"{number}") == f"{number}"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "has no label"),
        ("", "has no label"),
        (" \n", "has no label"),
        (float("nan"), "has no label"),
        (float("inf"), "has an infinite label"),
        ([1], "has a list for a label"),
        ({"a": 1}, "has an object for a label"),
        ("a\0", "has a NUL character in its label"),
        ("\ud800", r"has half a surrogate pair (\ud800) in its label"),
    ],
)
def test_what_is_no_label(value: object, reason: str) -> None:
    with pytest.raises(BadCellError, match=f"^{re.escape(reason)}$"):
        label_of(value)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["pos", "neg", "pos"], ("neg", "pos")),
        (["10", "9", "1", "-2", "0.5"], ("-2", "0.5", "1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["true", "false"], ("false", "true")),
        (["nan", "1"], ("1", "nan")),
        (["02", "1", "01"], ("1", "01", "02")),
        (["e", "-", "."], ("-", ".", "e")),
        ([], ()),
    ],
)
def test_the_order_of_classes(labels: list[str], classes: tuple[str, ...]) -> None:
    assert in_order(labels) == classes


def refuse(labels: list[Any]) -> None:
    refuse_what_are_no_classes([label_of(v) for v in labels], column="y", where="a.csv")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [f"name {n}" for n in range(30)],
            r"column 'y' of a.csv has 30 different labels in 30 rows \(such as 'name 0'\); 30 of "
            "them occur once: they look like names, not classes; name .* with --label-column",
        ),
        ([*range(24), *range(12)], "12 of them occur once"),
        ([n / 7 for n in range(30)] * 9, "they look like measurements, not classes"),
        ([n for n in range(1001) for _ in range(5)], "at most 1,000 classes can be told apart"),
        (["a" * 100 + str(n) for n in range(30)], r"such as 'a{60}…'\)"),
    ],
)
def test_labels_that_are_no_classes(labels: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        refuse(labels)


@pytest.mark.parametrize(
    "labels",
    [
        list(range(20)),
        [n / 2 for n in range(10)],
        [n for n in range(150) for _ in range(2)],
        [*range(24), *range(13)],  # 11 of 24 occur once
    ],
)
def test_rare_labels_that_are_classes(labels: list[Any]) -> None:
    refuse(labels)


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        ("text label", "text", "label"),
        ("id Review SENTIMENT date", "Review", "SENTIMENT"),
        ("label sentence", "sentence", "label"),
        ("Review-Text Class-Name stuff", "Review-Text", "Class-Name"),
        ("what category", "what", "category"),  # of two columns, the other one
        ("review verdict", "review", "verdict"),
        ("Unnamed:0 review verdict", "review", "verdict"),
        ("idx verdict body", "body", "verdict"),
        ("title text label", "text", "label"),
    ],
)
def test_guesses(columns: str, text: str, label: str) -> None:
    names = columns.split()
    found = choose_columns(names, None, None, where="a.csv")
    listed = ", ".join(map(repr, names))
    note = f"columns guessed in a.csv: text {text!r}, label {label!r} (of {listed})"
    assert found == Columns(text, label, note)


@pytest.mark.parametrize(
    ("columns", "what", "options"),
    [
        ("a b", "the texts and which the labels", "--text-column and --label-column"),
        ("a b c", "the texts and which the labels", "--text-column and --label-column"),
        ("text", "the labels", "--label-column"),
        ("label", "the texts", "--text-column"),
        ("id text", "the labels", "--label-column"),
        ("text a b", "the labels", "--label-column"),
        ("text comment", "the texts and which the labels", "--text-column"),
        ("text comment label", "the texts", "--text-column"),
        ("text label sentiment", "the labels", "--label-column"),
        ("text text label", "the texts", "--text-column"),
        ("label class", "the texts and which the labels", "--text-column"),
    ],
)
def test_doubts(columns: str, what: str, options: str) -> None:
    names = columns.split()
    with pytest.raises(DataError) as caught:
        choose_columns(names, None, None, where="a.csv")
    assert f"not clear which column holds {what}; " in caught.value.problem
    assert ", ".join(map(repr, names)) in caught.value.problem
    assert options in caught.value.remedy
    assert "the first row must hold the names" in caught.value.remedy


def test_a_table_without_a_header_is_shown_as_it_is_read() -> None:
    text = "I loved it because it" + " is very long" * 30
    with pytest.raises(
        DataError, match=r"columns are 'I loved it because .{41}…', 'pos'; name"
    ) as e:
        choose_columns([text, "pos"], None, None, where="a.csv")
    assert "first row" in str(e.value)


@pytest.mark.parametrize(
    ("text", "label", "expected", "note"),
    [
        ("a", "b", ("a", "b"), ""),
        ("c", None, ("c", "label"), "columns guessed in a.csv: label 'label'"),
        (None, "a", ("text", "a"), "columns guessed in a.csv: text 'text'"),
        ("label", None, None, "the labels"),
        ("my text", "b", ("my text", "b"), ""),
        (" A ", "B", ("a", "b"), ""),  # capitals and spaces do not matter unless they decide
        ("x", "a", None, "a.csv has no column 'x'; its columns are 'a', 'b', 'c'"),
        ("a", "x", None, "name one of them with --label-column"),
        ("a", "A", None, "the column 'a' cannot be both text and label"),
        ("twice", "a", None, "a.csv has 2 columns called 'twice'; rename all but one"),
    ],
)
def test_named_columns(
    text: str | None, label: str | None, expected: tuple[str, str] | None, note: str
) -> None:
    columns = ["a", "b", "c", "text", "label", "my text", "twice", "twice"]
    if expected is None:
        with pytest.raises(DataError, match=note):
            choose_columns(columns, text, label, where="a.csv")
        return
    found = choose_columns(columns, text, label, where="a.csv")
    assert (found.text, found.label) == expected
    assert found.note.startswith(note) if note else not found.note


def test_one_named_of_two_gives_the_other() -> None:
    assert choose_columns(["x", "y1"], "x", None, where="a").label == "y1"
    assert choose_columns(["x", "y1"], None, "x", where="a").text == "y1"


def test_names_that_differ_in_capitals() -> None:
    assert choose_text_column(["Text", "text"], "text", where="a") == "text"
    with pytest.raises(DataError, match="2 columns called 'TEXT'"):
        choose_text_column(["Text", "text"], "TEXT", where="a")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("text label", "text"),
        ("id words", "words"),
        ("words label", "words"),
        ("words", "words"),
        ("a b", None),
        ("text review", None),
        ("id label", None),
    ],
)
def test_a_column_of_texts_alone(columns: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(DataError, match="not clear which column holds the texts.*--text-col"):
            choose_text_column(columns.split(), None, where="a.csv")
    else:
        assert choose_text_column(columns.split(), None, where="a.csv") == expected


def test_a_table_of_many_columns_is_cut_short() -> None:
    with pytest.raises(DataError, match=r"'c18', 'c19' and 80 more; name"):
        choose_columns([f"c{n}" for n in range(100)], None, None, where="a.csv")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"test_fraction": 0.5, "validation_fraction": 0.5}, "leave nothing to train on"),
        ({"text_column": "a", "label_column": "a"}, "name the same column"),
        ({"text_column": ""}, "text_column"),
        ({"textcolumn": "a"}, "did you mean 'text_column'"),
    ],
)
def test_settings_are_checked(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        TextTableSettings.parse(values, where="data")
