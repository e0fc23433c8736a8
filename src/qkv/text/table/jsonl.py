"""JSONL: one JSON object a line. Blank lines are passed over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from qkv.errors import DataError
from qkv.text.table.lines import bad_byte, read_lines
from qkv.text.table.record import Advance, BadRecord, Record

_LOOKED_AT = 100
"""Rows whose keys make the columns: an object may leave a key out."""

_KINDS = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}


class JsonLinesTable:
    """A JSONL file; see `Table`. Its columns are the keys in its first 100 objects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        keys: dict[str, None] = {}
        first = list(islice(self._objects(lambda _: None), _LOOKED_AT))
        for _, found in first:
            if isinstance(found, dict):
                keys |= dict.fromkeys(found)
        if not keys:
            raise DataError(
                f"{path.name}:{first[0][0]} {first[0][1]}"
                if first and isinstance(first[0][1], str)
                else f"{path} has no rows",
                remedy="write one JSON object a line",
            )
        self.columns = tuple(keys)

    def read(self, names: Sequence[str], advance: Advance) -> Iterator[Record | BadRecord]:
        """Every object; see `Table.read`. A key that an object lacks gives None."""
        for line, found in self._objects(advance):
            if isinstance(found, str):
                yield BadRecord(line, found)
            else:
                yield Record(line, tuple([found.get(name) for name in names]))

    def _objects(self, advance: Advance) -> Iterator[tuple[int, dict[str, Any] | str]]:
        for number, line in enumerate(read_lines(self.path, advance), start=1):
            if not line.isspace():
                yield number, bad_byte(line) or _parse(line)


def _parse(line: str) -> dict[str, Any] | str:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        return f"is not valid JSON ({error.msg} at character {error.pos + 1})"
    except ValueError:
        return "has a number with too many digits"
    except RecursionError:
        return "is nested too deeply"
    if not isinstance(found, dict):
        return f"is {_KINDS.get(type(found), 'a number')}, not a JSON object"
    return found
