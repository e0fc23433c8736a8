"""The search for IMDB, nearest place first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import filelock

from qkv.errors import DataError, DownloadError, MissingExtraError
from qkv.sources import Progress, cache_dir, download, hub_files
from qkv.text.imdb.facts import CLASS_NAMES, IMDB, SPLITS, TITLE, ImdbFacts
from qkv.text.imdb.files import ROOT, read_archive, read_folders, review_folders
from qkv.text.imdb.packed import NAME, read_packed, write_packed
from qkv.text.imdb.parquet import FOLDER, NAMES, parquet_files, read_parquet, require_pyarrow
from qkv.text.imdb.reviews import Reviews

CACHE_FOLDER = "imdb"

_HUB_CACHE = "hub's cache"


@dataclass(frozen=True)
class LocatedReviews:
    """The complete, verified data set.

    Attributes:
        folder: where it is.
        files: what was read there, by name: files, or the folders of text files.
        source: where it came from, in words.
        notes: damaged copies that were passed over, and texts that are not the published ones.
        reviews: what was read.
    """

    folder: Path
    files: Mapping[str, Path]
    source: str
    notes: tuple[str, ...]
    reviews: Reviews


def locate(
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
    local_only: bool = False,
    facts: ImdbFacts = IMDB,
) -> LocatedReviews:
    """Find or fetch the data set and verify it.

    A folder that the user names is the only place looked at. It may hold the hub's
    `plain_text/*.parquet` (or these files themselves), `aclImdb/{train,test}/{pos,neg}/*.txt` (or
    what is in `aclImdb`), the official archive as it was downloaded, or the cache's own file.
    Otherwise: the cache, the hub's cache, the official archive, the hub. What is found in the
    last three is kept in the cache as one file; the archive itself is not kept.

    Args:
        folder: the user's own copy.
        progress: called with (done, total) bytes while the archive is downloaded.
        local_only: do not use the network.
        facts: addresses, hashes and counts of another data set of this form, for tests.

    Raises:
        DataError: the user's folder lacks files or holds wrong ones.
        DownloadError: the data set is nowhere and cannot be fetched; says what to do.
        MissingExtraError: the user's folder holds Parquet files and pyarrow is not installed.
        RunError: the cache cannot be written.
    """
    if folder is not None:
        return _remarked(_open_named(folder, facts), facts)
    cache = cache_dir() / CACHE_FOLDER
    notes: list[str] = []
    found = _open_cache(cache, facts, notes)
    if found is None:
        with _alone(cache, facts):
            # Another process may have fetched it while this one waited.
            found = _open_cache(cache, facts, []) or _fetch(cache, facts, progress, local_only)
    return _remarked(replace(found, notes=(*notes, *found.notes)), facts)


def _open_named(folder: Path, facts: ImdbFacts) -> LocatedReviews:
    if not folder.is_dir():
        raise DataError(
            f"{folder} is {'not a folder' if folder.exists() else 'not there'}",
            remedy=f"name the folder that holds {TITLE}, or none to have it fetched",
        )
    source = f"folder {folder}"
    tables, folders = parquet_files(folder), review_folders(folder)
    if len(tables) == len(SPLITS):
        return _located(folder, tables, source, read_parquet(tables, facts))
    if len(folders) == 2 * len(SPLITS):
        return _located(folder, folders, source, read_folders(folders, facts))
    archive, packed = folder / facts.archive.name, folder / NAME
    if archive.is_file():
        return _located(folder, {"archive": archive}, source, read_archive(archive, facts))
    if packed.is_file():
        return _located(folder, {"reviews": packed}, source, read_packed(packed, facts)[0])
    address = facts.archive.urls[0] if facts.archive.urls else facts.archive.name
    raise DataError(
        f"{folder} does not hold {TITLE}: {_lacking(tables, folders)}",
        remedy=f"download {address} into it, or name no folder to have it fetched",
    )


def _lacking(tables: Mapping[str, Path], folders: Mapping[str, Path]) -> str:
    """What is missing of the form that is there in part, or of both."""
    if tables:
        return f"{', '.join(NAMES[split] for split in SPLITS if split not in tables)} is missing"
    names = [f"{split}/{name}" for split in SPLITS for name in CLASS_NAMES]
    if folders:
        return f"{', '.join(name for name in names if name not in folders)} is missing"
    shards = f"{FOLDER}/{{train,test}}-*.parquet"
    return f"neither {shards} nor {ROOT}/{{train,test}}/{{neg,pos}} is in it"


def _open_cache(cache: Path, facts: ImdbFacts, notes: list[str]) -> LocatedReviews | None:
    path = cache / NAME
    if not path.is_file():
        return None
    try:
        reviews, source = read_packed(path, facts)
    except DataError as error:
        notes.append(f"passed over a damaged copy: {error.problem}")
        return None
    return _located(cache, {"reviews": path}, f"cache: {path}, from the {source}", reviews)


@contextmanager
def _alone(cache: Path, facts: ImdbFacts) -> Iterator[None]:
    """No other process fetches while this one does."""
    seconds = facts.patience.lock_timeout_seconds
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(cache / ".fetching.lock", timeout=seconds)
        lock.acquire()
    except filelock.Timeout:
        raise DownloadError(
            f"another process has been fetching {TITLE} into {cache} for over {seconds:g} s",
            remedy="wait for it, or end it and try again",
        ) from None
    except OSError as error:
        raise DownloadError(
            f"cannot write to {cache}: {error.strerror or error}",
            remedy="free some space there, or set QKV_CACHE to another folder",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _fetch(
    cache: Path, facts: ImdbFacts, progress: Progress | None, local_only: bool
) -> LocatedReviews:
    """Read the data set from the first place that has it, and keep it in the cache."""

    def official() -> Reviews:
        archive = download(facts.archive, cache, progress=progress, patience=facts.patience)
        return read_archive(archive, facts)

    ways: list[tuple[Callable[[], Reviews], str]] = []
    if facts.repository is not None:
        ways.append((lambda: _from_hub(facts, local_only=True), _HUB_CACHE))
    if not local_only and facts.archive.urls:
        ways.append((official, "official archive"))
    if not local_only and facts.repository is not None:
        ways.append((lambda: _from_hub(facts, local_only=False), "hub"))

    reasons = []
    for read, source in ways:
        try:
            reviews = read()
        except (DataError, MissingExtraError) as error:
            # What the hub's cache lacks, the hub itself is asked for at the end.
            if local_only or source != _HUB_CACHE:
                reasons.append(error.problem)
            continue
        path = cache / NAME
        write_packed(reviews, path, source=source)
        (cache / facts.archive.name).unlink(missing_ok=True)
        return _located(cache, {"reviews": path}, source, reviews)
    address = facts.archive.urls[0] if facts.archive.urls else facts.archive.name
    raise DownloadError(
        f"{TITLE} is not on this machine and could not be fetched "
        f"({'; '.join(reasons) or 'it has no address'})",
        remedy=f"download {address} into a folder and pass --data FOLDER",
    )


def _from_hub(facts: ImdbFacts, *, local_only: bool) -> Reviews:
    assert facts.repository is not None
    require_pyarrow(f"the data set {facts.repository} of the hub")
    names = [f"{FOLDER}/{name}" for name in NAMES.values()]
    snapshot = hub_files(
        facts.repository, names, revision=facts.revision, kind="dataset", local_only=local_only
    )
    files = parquet_files(snapshot.folder)
    if len(files) < len(SPLITS):
        raise DataError(
            f"{snapshot.folder} lacks a Parquet file of {TITLE}", remedy="fetch it again"
        )
    return read_parquet(files, facts)


def _located(
    folder: Path, files: Mapping[str, Path], source: str, reviews: Reviews
) -> LocatedReviews:
    return LocatedReviews(folder, files, source, (), reviews)


def _remarked(found: LocatedReviews, facts: ImdbFacts) -> LocatedReviews:
    other = [split for split, known in facts.sha256.items() if found.reviews.sha256[split] != known]
    if not other:
        return found
    note = (
        f"{found.source}: the texts or labels of {' and '.join(other)} are not exactly those of "
        f"{TITLE} as published"
    )
    return replace(found, notes=(*found.notes, note))
