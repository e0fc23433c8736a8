"""The encoder caches that are there, and their removal."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from qkv.errors import DataError
from qkv.files import locked
from qkv.settings import nearest
from qkv.text.encoder_cache import (
    FACTS,
    FORMAT,
    cache_root,
    lock_path,
    read_index,
    reading,
    writing,
)

_CACHE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{16}")


@dataclass
class CacheFacts:
    """One cache, for people; what cannot be read of its facts is as by default."""

    name: str  # of its folder, by which it is cleared
    encoder: str = "unknown"
    layers: tuple[int, ...] = ()  # of which a state is the mean
    kind: str = "unknown"
    texts: int = 0  # that have states that this version can read
    rows: int = 0  # their states, one for each token
    bytes: int = 0  # on disk, all files
    last_used: float = 0.0  # seconds since 1970 when it was last filled or read
    outdated: bool = False  # written by an earlier version, and no longer read


def list_caches(root: Path | None = None) -> list[CacheFacts]:
    """Every cache under `root` (by default the user's), the last used first.

    Counts come from the index; states are not checked here.

    Raises:
        DataError: the folder cannot be read.
    """
    caches = []
    for folder in _folders(root or cache_root()):
        with suppress(FileNotFoundError):  # cleared meanwhile
            caches.append(_facts_of(folder))
    return sorted(caches, key=lambda cache: (-cache.last_used, cache.name))


def clear_caches(names: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Delete caches, all of them if `names` is None, and return the bytes that this freed.

    Either all named caches are deleted or, if one cannot be, none is touched.

    Raises:
        DataError: a name is unknown (the nearest is offered), another process is adding to a
            cache, or the files cannot be deleted.
    """
    root = root or cache_root()
    known = {folder.name: folder for folder in _folders(root)}
    chosen = list(known) if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in known:
            raise DataError(
                f"there are no states called {name!r} in {root}",
                remedy=nearest(name, known, what="names") if known else "the cache is empty",
            )
    freed = 0
    with ExitStack() as locks:
        for name in chosen:
            busy = DataError(
                f"another process is adding to the states of {name}",
                remedy="wait for it or stop it",
            )
            with writing(known[name]):
                locks.enter_context(locked(lock_path(known[name]), busy=busy, timeout_seconds=0))
        for name in chosen:
            size = _bytes_of(known[name])
            with writing(known[name]), suppress(FileNotFoundError):
                shutil.rmtree(known[name])
            freed += size
    return freed


def _folders(root: Path) -> list[Path]:
    """Folders that are named as caches are; links are never followed."""
    with reading(root):
        try:
            entries = sorted(root.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
    return [
        path
        for path in entries
        if _CACHE_NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]


def _facts_of(folder: Path) -> CacheFacts:
    last_used = folder.stat().st_mtime
    cache = CacheFacts(folder.name, bytes=_bytes_of(folder), last_used=last_used)
    with suppress(OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        content = (folder / FACTS).read_text("utf-8")
        document = json.loads(content)
        digest = hashlib.sha256(content.encode()).hexdigest()
        if folder.name.endswith(digest[:16]):
            facts = document["facts"]
            cache.encoder, cache.kind = str(facts.get("name", "unknown")), str(document["kind"])
            cache.layers = tuple(int(layer) for layer in facts.get("layers", ()))
            cache.outdated = document["format"] != FORMAT
            if not cache.outdated:
                entries = read_index(folder).values()
                cache.texts, cache.rows = len(entries), sum(entry.rows for entry in entries)
    return cache


def _bytes_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
    return total
