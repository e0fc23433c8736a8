"""A set of artefacts that belong together, and the search for them, nearest place first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qkv.errors import DataError, DownloadError
from qkv.sources.artefact import Artefact, Content, read_verified
from qkv.sources.cache import cache_dir
from qkv.sources.debian import DebianPackage, fetch_debian
from qkv.sources.download import download
from qkv.sources.transfer import Progress


@dataclass(frozen=True)
class Collection:
    """Artefacts that are only of use together.

    Attributes:
        name: the folder in the cache.
        title: the name in messages.
        artefacts: all of them are needed.
        package: a system package that carries them.
    """

    name: str
    title: str
    artefacts: tuple[Artefact, ...]
    package: DebianPackage | None = None


@dataclass(frozen=True)
class Located:
    """A complete, verified collection.

    Attributes:
        folder: where all the files are.
        files: the path of each artefact, by its name.
        contents: the verified content of each artefact, by its name.
        source: where the files came from, in words.
        notes: damaged copies that were passed over or replaced.
    """

    folder: Path
    files: Mapping[str, Path]
    contents: Mapping[str, Content]
    source: str
    notes: tuple[str, ...] = ()


def locate(
    collection: Collection,
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
) -> Located:
    """Find or fetch a collection and verify every file of it.

    A folder that the user names is the only place looked at. Otherwise: the cache, the folder of
    the system package, the official download into the cache, the package fetched into the cache.

    Args:
        collection: what to find.
        folder: the user's own copy, files as `NAME` or `NAME.gz`.
        progress: called with (done, total) bytes of content while downloading, over all files.

    Raises:
        DataError: the user's folder lacks a file or holds a wrong one.
        DownloadError: the collection is nowhere and cannot be fetched; says what to do.
    """
    if folder is not None:
        return _open_named(collection, folder)
    cache = cache_dir() / collection.name
    package = collection.package
    places = [(cache, "cache")]
    if package:
        places.append((package.folder, f"Debian package {package.name}"))
    notes: list[str] = []
    for place, words in places:
        try:
            if not _missing(collection, place):
                return _open(collection, place, f"{words}: {place}", notes)
        except DataError as error:
            notes.append(f"passed over a damaged copy: {error.problem}")

    reasons = list(notes)
    for fetch, words in _ways(collection, cache, progress):
        try:
            fetch()
            return _open(collection, cache, words, notes)
        except DataError as error:
            reasons.append(error.problem)
    raise DownloadError(
        f"{collection.title} is not on this machine and could not be fetched "
        f"({'; '.join(reasons) or 'it has no address'})",
        remedy=_remedy(collection),
    )


def _open_named(collection: Collection, folder: Path) -> Located:
    if not folder.is_dir():
        raise DataError(
            f"{folder} is {'not a folder' if folder.exists() else 'not there'}",
            remedy=f"name the folder that holds {collection.title}, or none to have it fetched",
        )
    missing = _missing(collection, folder)
    if missing:
        raise DataError(
            f"{folder} lacks {', '.join(f'{a.name}[.gz]' for a in missing)} of {collection.title}",
            remedy=f"put there {_addresses(missing)}, or name no folder to have it fetched",
        )
    return _open(collection, folder, f"folder {folder}", ())


def _missing(collection: Collection, folder: Path) -> list[Artefact]:
    return [artefact for artefact in collection.artefacts if not artefact.candidates(folder)]


def _open(collection: Collection, folder: Path, source: str, notes: Sequence[str]) -> Located:
    """Read every artefact of a folder; where a plain and a packed copy lie, one intact will do."""
    files: dict[str, Path] = {}
    contents: dict[str, Content] = {}
    for artefact in collection.artefacts:
        first_error: DataError | None = None
        for path in artefact.candidates(folder):
            try:
                contents[artefact.name] = read_verified(artefact, path)
            except DataError as error:
                first_error = first_error or error
            else:
                files[artefact.name] = path
                break
        if artefact.name not in contents:
            raise first_error or DataError(f"{artefact.name} left {folder}", remedy="try again")
    return Located(folder, files, contents, source, tuple(notes))


def _ways(
    collection: Collection, cache: Path, progress: Progress | None
) -> list[tuple[Callable[[], None], str]]:
    """The ways to bring the collection into the cache, each with its name."""
    ways: list[tuple[Callable[[], None], str]] = []
    if all(artefact.urls for artefact in collection.artefacts):
        ways.append((lambda: _download_all(collection, cache, progress), "official download"))
    package = collection.package
    if package is not None:

        def fetch() -> None:
            fetch_debian(package, collection.artefacts, cache)

        ways.append((fetch, f"Debian package {package.name}"))
    return ways


def _download_all(collection: Collection, cache: Path, progress: Progress | None) -> None:
    total = sum(artefact.size for artefact in collection.artefacts)
    before = 0
    for artefact in collection.artefacts:

        def scaled(
            done: int, transfer: int, before: int = before, size: int = artefact.size
        ) -> None:
            if progress:
                progress(before + size * done // max(transfer, 1), total)

        download(artefact, cache, progress=scaled)
        before += artefact.size
        if progress:
            progress(before, total)


def _addresses(artefacts: Sequence[Artefact]) -> str:
    return ", ".join(artefact.urls[0] if artefact.urls else artefact.name for artefact in artefacts)


def _remedy(collection: Collection) -> str:
    download = f"download {_addresses(collection.artefacts)} into a folder and pass --data FOLDER"
    if collection.package is None:
        return download
    return (
        f"install the Debian package {collection.package.name} "
        f"(apt-get install {collection.package.name}), or {download}"
    )
