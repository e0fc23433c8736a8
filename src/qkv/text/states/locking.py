"""One process at a time adds to a store or clears it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qkv.errors import DataError
from qkv.text.states.disk import unwritable

LOCKS = "locks"


@contextmanager
def store_lock(root: Path, name: str, *, waiting: Callable[[], None] | None) -> Iterator[None]:
    """Hold a store.

    Args:
        root: the folder of all stores. Locks lie beside the stores, not in them: a file that goes
            while somebody waits for it would let two in.
        name: the store.
        waiting: called once if another process holds it, which is then waited for; None: not.

    Raises:
        DataError: the lock cannot be made, or is held by another process and `waiting` is None.
    """
    folder = root / LOCKS
    lock = FileLock(folder / f"{name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if waiting is None:
                raise DataError(
                    f"another process is adding to the states of {name}",
                    remedy="wait for it or stop it",
                ) from None
            waiting()
            lock.acquire(poll_interval=0.2)
    except (OSError, NotImplementedError) as error:
        # The latter is a file system that knows no locks.
        raise unwritable(lock.lock_file, error) from None
    try:
        yield
    finally:
        lock.release()
