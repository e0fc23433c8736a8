"""What a study finds, in the one shape that is printed, drawn and saved."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

Cell = str | int | float | bool | None


class Table(TypedDict):
    """A titled table.

    Attributes:
        title: what it shows.
        columns: their names, each with its unit where it has one.
        rows: as many cells as there are columns; None where there is nothing to say.
    """

    title: str
    columns: list[str]
    rows: list[list[Cell]]


class StudyDocument(TypedDict):
    """A finished study; a study may add keys of its own, for its figure and for programs.

    Every number is finite and every value plain, so that it can be written as JSON.

    Attributes:
        study: its name.
        settings: what it was asked.
        table: the result.
        tables: further tables, in the order of reading.
        figures: the numbers that matter, by name.
        verdict: what they mean, in one to three sentences.
        notes: what a reader should know besides.
        machine: where it ran, of a study that measures time or memory.
    """

    study: str
    settings: dict[str, Any]
    table: Table
    tables: NotRequired[list[Table]]
    figures: dict[str, Any]
    verdict: str
    notes: list[str]
    machine: NotRequired[dict[str, Any]]
