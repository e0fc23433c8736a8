"""From what a table holds to a text and a label, or to the reason why it is neither.

A label is a word. Numbers become words that stand for their value, so that `1`, `"1"`, `1.0` and
`"+1"` are one label; `01` stays as it is, since it may be a code. True and false lose their
capitals.
"""

from __future__ import annotations

import math
import re

_WHOLE = re.compile(r"([+-]?)(0|[1-9][0-9]*)(?:\.0*)?")
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9][0-9]*)\.[0-9]{1,17}")
_PLAIN = 10**16
"""Floats from here on are written with an exponent, in files as here."""


class BadCellError(Exception):
    """A cell that is no text or no label, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def text_of(value: object) -> str:
    """The text in a cell, as it is.

    Raises:
        BadCellError: there is none, it has nothing but white space, or it has what is no character.
    """
    text = text_or_nothing(value)
    if not text:
        raise BadCellError("has no text")
    if text.isspace():
        raise BadCellError("has a text of white space only")
    return text


def text_or_nothing(value: object) -> str:
    """The text in a cell, possibly empty.

    Raises:
        BadCellError: the cell holds something else, or what is no character.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadCellError(f"has {_kind(value)} for a text")
    _check_characters(value, "text")
    return value


def label_of(value: object) -> str:
    """The label in a cell, as one word for equal values.

    Raises:
        BadCellError: there is none, or it is neither a word, a number nor true or false.
    """
    match value:
        case None:
            raise BadCellError("has no label")
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return _number(value)
        case str():
            word = value.strip()
            if not word:
                raise BadCellError("has no label")
            _check_characters(word, "label")
            return _word(word)
    raise BadCellError(f"has {_kind(value)} for a label")


def _number(value: float) -> str:
    if math.isnan(value):  # how tables of numbers write that nothing is there
        raise BadCellError("has no label")
    if math.isinf(value):
        raise BadCellError("has an infinite label")
    return str(int(value)) if value.is_integer() and abs(value) < _PLAIN else repr(value)


def _word(word: str) -> str:
    if whole := _WHOLE.fullmatch(word):
        sign, digits = whole.groups()
        return f"-{digits}" if sign == "-" and digits != "0" else digits
    if _DECIMAL.fullmatch(word):
        return repr(float(word))
    return word.lower() if word.lower() in {"true", "false"} else word


def _check_characters(text: str, what: str) -> None:
    if "\0" in text:
        raise BadCellError(f"has a NUL character in its {what}")
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise BadCellError(f"has half a surrogate pair (\\u{code:04x}) in its {what}") from None


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "an object"
    return f"a {type(value).__name__}"
