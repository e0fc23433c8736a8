"""Files and folders on disk: whole replacement, locks, free space, and the cache folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import platformdirs

from qkv.errors import DataError, QKVError, RunError


def cache_dir() -> Path:
    """The cache: `$QKV_CACHE` if set, else the user's cache folder; it may not exist yet."""
    chosen = os.environ.get("QKV_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("qkv", appauthor=False)


def unused_path(path: Path) -> Path:
    """`path`, or `path-2` and so on where that name is taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A file that takes the place of `target` when the block ends, and vanishes if it fails.

    Readers see the old content or the new, never a part, also after a loss of power.

    Yields:
        An empty file in the target's folder, which is made if missing. Write it and close it.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp keeps a file to its owner; runs and caches are shared
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def replace_file(target: Path, content: bytes) -> None:
    """Write a file whole or not at all, see `replacing`.

    Raises:
        RunError: the folder cannot be written or the disk is full.
    """
    try:
        with replacing(target) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise unwritable(target, error) from None


def unwritable(path: Path, error: OSError) -> RunError:
    """The error of a run's file or folder that cannot be written."""
    return RunError(
        f"cannot write {path}: {error}", remedy="free the disk or choose another folder"
    )


def _sync_folder(folder: Path) -> None:
    """Make a renaming outlive a loss of power, where the system lets a folder be synced."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse it
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(
    path: Path,
    *,
    busy: QKVError | None = None,
    timeout_seconds: float | None = None,
    waiting: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Hold a lock that other processes and threads respect; it ends with the process.

    Args:
        path: the lock file, in a folder that nobody deletes; it is made if missing.
        busy: raised when another holds the lock for longer than the timeout.
        timeout_seconds: how long to wait; 0: not at all; None: as long as it takes.
        waiting: called once if there is something to wait for.

    Raises:
        QKVError: `busy`.
        OSError: the lock file cannot be made, or the file system knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    timeout = -1 if timeout_seconds is None else timeout_seconds
    try:
        try:
            lock.acquire(0)
        except filelock.Timeout:
            if waiting is not None:
                waiting()
            lock.acquire(timeout)
    except filelock.Timeout as error:
        raise (busy or TimeoutError(f"{path} is held by another process")) from error
    except NotImplementedError as error:
        raise OSError(f"{path.parent} is on a file system without locks") from error
    try:
        yield
    finally:
        lock.release()


def require_space(
    folder: Path,
    needed_bytes: int,
    *,
    what: str,
    remedy: str,
    spare_bytes: int = 0,
    error: type[QKVError] = DataError,
) -> None:
    """Stop unless the disk of `folder`, which may not exist yet, can take so many bytes more.

    `what` begins the message ("the run needs"); `spare_bytes` must stay free.

    Raises:
        QKVError: of the class `error`; there is too little room.
        OSError: the free space is unknown.
    """
    existing = next((each for each in (folder, *folder.parents) if each.is_dir()), folder)
    free = shutil.disk_usage(existing).free
    if free < needed_bytes + spare_bytes:
        spare = f" and {format_bytes(spare_bytes)} to spare" if spare_bytes else ""
        raise error(
            f"{what} {format_bytes(needed_bytes)}{spare}, but {folder} has "
            f"{format_bytes(free)} free",
            remedy=remedy,
        )


def format_bytes(count: float) -> str:
    """Bytes for people, such as `812 MiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB" if count < 999.5 else f"{count:,.0f} TiB"
