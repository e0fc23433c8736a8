"""The stores that are there, and their removal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from qkv.errors import DataError
from qkv.settings import nearest
from qkv.text.states.disk import unwritable
from qkv.text.states.fill import FACTS
from qkv.text.states.keys import STORE_NAME, StoreKey, states_root
from qkv.text.states.locking import store_lock
from qkv.text.states.segment import SUFFIX, read_segment


@dataclass(frozen=True)
class StoreFacts:
    """One store, for people.

    Attributes:
        name: its folder, by which it is cleared.
        encoder: the encoder's name; "unknown" where the facts are damaged.
        layers: the layers of which a state is the mean.
        kind: float16 or int8; "unknown" where the facts are damaged.
        texts: how many texts have states.
        rows: states, one for each token.
        bytes: on disk, all files.
        last_used: seconds since 1970 when it was last filled or read.
    """

    name: str
    encoder: str
    layers: tuple[int, ...]
    kind: str
    texts: int
    rows: int
    bytes: int
    last_used: float


def list_stores(root: Path | None = None) -> list[StoreFacts]:
    """Every store under `root` (by default the cache's), the last used first.

    Counts come from the files' indices; their states are not checked here.

    Raises:
        DataError: the folder cannot be read.
    """
    stores = []
    for folder in _folders(root or states_root()):
        with suppress(FileNotFoundError):  # cleared meanwhile
            stores.append(_facts_of(folder))
    return sorted(stores, key=lambda store: (-store.last_used, store.name))


def clear(names: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Delete stores, all of them if `names` is None, and return the bytes that this freed.

    Either all named stores are deleted or, if one cannot be, none is touched.

    Raises:
        DataError: a name is unknown (the nearest is offered), another process is adding to a
            store, or the files cannot be deleted.
    """
    root = root or states_root()
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
            locks.enter_context(store_lock(root, name, waiting=None))
        for name in chosen:
            size = _bytes_of(known[name])
            try:
                shutil.rmtree(known[name])
            except FileNotFoundError:
                pass
            except OSError as error:
                raise unwritable(known[name], error) from error
            freed += size
    return freed


def _folders(root: Path) -> list[Path]:
    """Folders that are named as stores are; links are never followed."""
    try:
        entries = sorted(root.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"{root} cannot be read: {error.strerror or error}", remedy="make it readable"
        ) from error
    return [
        path
        for path in entries
        if STORE_NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]


def _facts_of(folder: Path) -> StoreFacts:
    key, encoder, layers = _read_facts(folder)
    texts: set[bytes] = set()
    rows = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")) if key else []:
        with suppress(DataError, OSError):
            assert key is not None
            segment = read_segment(path, key)
            texts.update(segment.hashes)
            rows += segment.rows
    return StoreFacts(
        name=folder.name,
        encoder=encoder,
        layers=layers,
        kind=key.kind if key else "unknown",
        texts=len(texts),
        rows=rows,
        bytes=_bytes_of(folder),
        last_used=folder.stat().st_mtime,
    )


def _read_facts(folder: Path) -> tuple[StoreKey | None, str, tuple[int, ...]]:
    """The key that a store's facts give, if they are intact, with the encoder and its layers."""
    try:
        document = json.loads((folder / FACTS).read_bytes())
        facts = document["facts"]
        key = StoreKey.of(facts, document["dim"], document["kind"])
        layers = facts.get("layers", ())
        shown = tuple(int(k) for k in (layers if isinstance(layers, list) else ()))
        if key.name == folder.name:
            return key, str(facts.get("name", "unknown")), shown
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        pass
    return None, "unknown", ()


def _bytes_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
    return total
