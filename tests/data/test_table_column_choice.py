"""Columns: guessed where their names leave no doubt, else an error that lists them."""

from __future__ import annotations

import pytest

from qkv.data.table_columns import Columns, choose_columns, choose_text_column
from qkv.data.text_table import TextTableSettings
from qkv.errors import DataError, RecipeError


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
        DataError, match=r"columns are 'I loved it because .{21}…', 'pos'; name"
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
