"""What a study finds, in the one shape that is printed, drawn and saved."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NotRequired, TypedDict

from qkv.errors import StudyError

Cell = str | int | float | bool | None


class Table(TypedDict):
    """A titled table."""

    title: str  # what it shows
    columns: list[str]  # their names, each with its unit where it has one
    rows: list[list[Cell]]  # as many cells as there are columns; None where there is no value


class StudyDocument(TypedDict):
    """A finished study; a study may add keys of its own, for its figure and for programs.

    Every number is finite and every value plain, so that it can be written as JSON.
    """

    study: str  # its name
    settings: dict[str, Any]  # that it ran with
    table: Table  # the result
    tables: NotRequired[list[Table]]  # further tables, in the order of reading
    figures: dict[str, Any]  # the numbers that matter, by name
    verdict: str  # what they mean, in one to three sentences
    notes: list[str]  # what a reader should know besides
    machine: NotRequired[dict[str, Any]]  # where it ran, of a study that measures time or memory


MAX_TOKENS = 2**30
_REMEDY = "give a range that doubles, such as 64..16384, or a list such as 64,100,1000"


def parse_lengths(text: str) -> list[int]:
    """Lengths in tokens, ascending: `a..b` doubles from a and stops at b or before.

    Raises:
        StudyError: there is none, one is not a positive integer or too long, or they do not ascend.
    """
    ends = text.split("..")
    if len(ends) == 2:
        first, last = (_tokens(end) for end in ends)
        if first > last:
            raise StudyError(f"--lengths: {first} is more than {last}", remedy=_REMEDY)
        doublings = (last // first).bit_length()
        return [first * 2**power for power in range(doublings)]
    lengths = [_tokens(part) for part in text.split(",")]
    for one, following in pairwise(lengths):
        if following <= one:
            raise StudyError(
                f"--lengths: {following} comes after {one}", remedy="give them ascending"
            )
    return lengths


def _tokens(text: str) -> int:
    part = text.strip()
    if not part:
        raise StudyError("--lengths: a length is empty", remedy=_REMEDY)
    # int() would take underscores and other digits as well.
    if not re.fullmatch(r"[0-9]{1,12}", part):
        shown = part if len(part) <= 40 else f"{part[:40]}…"
        raise StudyError(f"--lengths: {shown!r} is not a number of tokens", remedy=_REMEDY)
    tokens = int(part)
    if not 1 <= tokens <= MAX_TOKENS:
        raise StudyError(
            f"--lengths: {tokens} tokens", remedy=f"give lengths from 1 to {MAX_TOKENS:,}"
        )
    return tokens
