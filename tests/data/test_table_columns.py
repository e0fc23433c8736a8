"""What is a text, what is a label, and in which order classes stand."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.data.table_columns import (
    BadCellError,
    in_order,
    label_of,
    refuse_what_are_no_classes,
    text_of,
    text_or_nothing,
)
from qkv.errors import DataError


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
