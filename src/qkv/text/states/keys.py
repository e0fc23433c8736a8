"""Which store states belong to: a name made from everything that determines them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qkv.files import cache_dir

Kind = Literal["float16", "int8"]
"""How an entry is kept: a half, or eight bits and one scale for each token."""

FORMAT = 1
"""Counts up when files of an earlier qkv can no longer be read, so that they are left alone."""

STORE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{16}")
_NAME_LETTERS = 40


@dataclass(frozen=True)
class StoreKey:
    """What a store is for.

    Attributes:
        document: the facts, the width and the kind as canonical JSON: keys sorted, no blanks.
        dim: width of a state.
        kind: how an entry is kept.
        name: the store's folder.
        sha256: hash of the document, 64 hex digits.
    """

    document: str
    dim: int
    kind: Kind
    name: str
    sha256: str

    @classmethod
    def of(cls, facts: Mapping[str, Any], dim: int, kind: Kind) -> StoreKey:
        """The key of states that are a function of a text and of these facts.

        Args:
            facts: JSON values; `name`, if there, is what the encoder is called.
            dim: width of a state.
            kind: how an entry is kept.
        """
        document = canonical({"format": FORMAT, "facts": facts, "dim": dim, "kind": kind})
        digest = hashlib.sha256(document.encode()).hexdigest()
        name = f"{_plain_name(str(facts.get('name', '')))}-{digest[:16]}"
        return cls(document, dim, kind, name, digest)


def canonical(document: Mapping[str, Any]) -> str:
    """A document as JSON in its one canonical form."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def states_root() -> Path:
    """The folder of all stores; it may not exist yet."""
    return cache_dir() / "states"


def _plain_name(name: str) -> str:
    """A file name that says which encoder, whatever it is called: it may be a path."""
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._")
    return plain[:_NAME_LETTERS] or "encoder"
